"""Calibration, class distribution estimation, and the estimation bank."""

import re
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from distok import seeds
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.training import (
    Bank,
    Trainer,
    calibrate,
    collect,
    mixture_tokens,
    runtime,
    sample_tokens,
)
from distok.training.estimation import read_back
from distok.training.tasks import Allowed, random_mixtures
from tests.tiny import NAMES
from tests.tiny import run_settings as short


def trainer(backend, labeler, **changes):
    built = Trainer(short(**changes), backend, labeler, NAMES)
    built.estimate()
    return built


def test_thresholds_are_read_off_the_encoder(backend, labeler):
    allowed, words = Allowed.among(NAMES, ()), {"restrictive_prompt": "a {} {}", "mixture_share": 0.0}
    found = calibrate(backend, NAMES, short(**words), allowed)
    worded = backend.encode([f"a photo of a {NAMES[i]} {NAMES[j]}" for i, j in allowed.pairs])
    meant = backend.encode([f"a {NAMES[i]} {NAMES[j]}" for i, j in allowed.pairs])
    generic = meant @ backend.encode(["a photo of a cute pet"])[0]
    assert (generic <= found.epsilon_aesthetic).float().mean().item() == pytest.approx(0.05, abs=0.07)
    assert ((worded * meant).sum(1) <= found.epsilon_restrictive).float().mean().item() == pytest.approx(0.9, abs=0.07)
    mixed = calibrate(backend, NAMES, short(**{**words, "mixture_share": 0.5}), allowed)
    assert mixed.epsilon_restrictive == found.epsilon_restrictive
    assert "over 15 pairs and 256 mixtures" in mixed.how
    assert mixed.epsilon_aesthetic != found.epsilon_aesthetic
    built = Trainer(short(epsilon_aesthetic=0.5, **words), backend, labeler, NAMES)
    assert built.settings.epsilon_aesthetic == 0.5
    assert built.settings.epsilon_restrictive == pytest.approx(found.epsilon_restrictive)
    assert built.thresholds.endswith("epsilon_aesthetic overridden by the settings")
    assert "0.9 quantile of the cosines of 'a photo of a c1 c2' with 'a c1 c2' over 15 pairs" in built.thresholds


def test_estimation_admits_what_the_labeler_read(backend, labeler):
    built = Trainer(short(estimate_renders=2, tau=1.0), backend, labeler, NAMES)
    assert built.estimate() == 4
    assert built.pool.distributions.sum(1) == pytest.approx(np.ones(10), abs=1e-4)
    features = backend.encode(["a photo of a <tcrt_0>"], built.pool.tokens[8][None])
    assert torch.allclose(built.pool.features[8], features[0], atol=1e-5)


@pytest.mark.parametrize(("source", "mixed"), [("prior", 0), ("mixtures", 4), ("both", 2)])
@torch.no_grad()
def test_estimation_sources(backend, labeler, source, mixed):
    """Latents of the prior are decoded at the measured law, mixtures pass through the whole model; first those, then these."""
    change = {"estimate_from": source, "estimate_jitter": 0.0, "start": "random", "tau": 1.0}
    built = trainer(backend, labeler, **change)
    model, known = built.model, built.pool.known_tokens
    rng = seeds.rng(0, "estimate", 0)
    prior = torch.from_numpy(rng.standard_normal((4 - mixed, 8)).astype(np.float32))
    means = torch.from_numpy(random_mixtures(rng, mixed, 6, built.settings.estimate_active, built.allowed)) @ known
    wanted = torch.cat([model.decode(model.sample_latents(prior)), model(means)])
    assert torch.allclose(built.pool.tokens[6:], wanted, atol=1e-5)
    plain = torch.cat([model.decode(prior), means])
    assert ((wanted - plain).abs().amax(1) > 0.01).all(), "neither the law nor the model would be missed"
    other = trainer(backend, labeler, seed=1, **change)
    assert not torch.equal(built.pool.tokens[6:], other.pool.tokens[6:])


@torch.no_grad()
def test_of_one_token_half_is_a_latent_and_a_mixture_in_turns(backend, labeler):
    built = Trainer(short(estimate_from="both", estimate_jitter=0.0, estimate_every=5), backend, labeler, NAMES)
    known = built.pool.known_tokens

    def sampled(source, step):
        settings = replace(built.settings, estimate_from=source)
        return sample_tokens(built.model, known, settings, built.allowed, step, 1)

    for step, source in ((0, "prior"), (5, "mixtures"), (10, "prior")):
        assert torch.equal(sampled("both", step), sampled(source, step))


def test_jitter_moves_tokens_in_units_of_the_real_ones(backend, labeler):
    built = Trainer(short(), backend, labeler, NAMES)

    def sample(jitter):
        return sample_tokens(
            built.model, built.pool.known_tokens, replace(built.settings, estimate_jitter=jitter), built.allowed, 0, 200
        )

    moved = (sample(0.5) - sample(0.0)) / built.model.token_scale
    assert moved.std().item() == pytest.approx(0.5, rel=0.05)


@torch.no_grad()
def test_the_prior_is_sampled_through_the_latents_of_the_moment(backend, labeler):
    built = trainer(backend, labeler, estimate_from="prior", estimate_jitter=0.0, tau=1.0, learning_rate=0.05)
    with torch.enable_grad():
        built.advance()
    model, before = built.model, (built.model.latent_mean.clone(), built.model.latent_factor.clone())
    built.estimate()
    prior = torch.from_numpy(seeds.rng(0, "estimate", 1).standard_normal((4, 8)).astype(np.float32))
    wanted = model.decode(model.sample_latents(prior))
    assert torch.allclose(built.pool.tokens[-4:], wanted, atol=1e-5)
    assert not torch.allclose(model.decode(before[0] + prior @ before[1].T), wanted, atol=1e-3), "the law of a step ago"


def test_mixture_tokens_surround_the_weighted_means(backend):
    known, allowed = backend.name_tokens(NAMES), Allowed.among(NAMES, [("cat", "dog")])
    exact, noisy = (mixture_tokens(known, allowed, 300, active=2, jitter=jitter) for jitter in (0.0, 0.2))
    weights = torch.linalg.lstsq(known.T, exact.T).solution.T
    assert torch.allclose(weights.sum(1), torch.ones(300), atol=1e-4)
    assert not ((weights[:, 0] > 0.01) & (weights[:, 1] > 0.01)).any(), "a held-out pair was mixed"
    assert ((noisy - exact) / known.std(0)).std().item() == pytest.approx(0.2, rel=0.05)


def test_a_gate_that_nothing_passes_leaves_the_pool_as_it_is(backend, labeler):
    built = Trainer(short(tau=0.01), backend, labeler, NAMES)
    assert (built.estimate(), built.pool.admitted) == (0, 0)


def test_a_bank_holds_the_readings_of_its_tokens(backend, labeler, bank):
    pictures = backend.render(
        ["a photo of a <tcrt_0>"] * 2, bank.tokens[5:6], seeds=[seeds.derive(0, "bank", 5, r) for r in range(2)], steps=1
    )
    read = labeler.probabilities(pictures, NAMES).mean(0)
    assert torch.allclose(bank.distributions[5], read, atol=1e-4)
    assert str(Distribution.from_vector(NAMES, bank.distributions[5].double().numpy()))


def test_an_interrupted_collection_goes_on(backend, labeler, bank, tmp_path):
    path = tmp_path / "bank.safetensors"

    def collect_again(callback=None, **changes):
        return collect(
            backend, labeler, NAMES, bank.tokens, path, **{"steps": 1, "renders": 2, "batch": 4, **changes}, callback=callback
        )

    def interrupt(report):
        if report["done"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_again(interrupt)
    with pytest.raises(DistokError, match="holds 8 of 9 concepts; collect again"):
        Bank.load(path)
    with pytest.raises(DistokError, match="was collected with other tokens or settings"):
        collect_again(steps=2)
    told = []
    resumed = collect_again(told.append)
    assert told == [{"done": 9, "total": 9}]
    assert torch.equal(resumed.distributions, bank.distributions)
    assert resumed.hash == bank.hash


def test_a_bank_is_consumed_in_order(backend, bank):
    built = Trainer(short(estimate_count=0, tau=1.0), backend, None, NAMES, bank)
    for _ in range(11):
        built.advance()
    assert torch.equal(built.pool.tokens[6:], bank.tokens)  # 4, 4 and the last 1, at steps 0, 5 and 10


def test_a_bank_of_other_pictures_or_of_no_use_is_refused(backend, bank):
    other = replace(bank, record={**bank.record, "pipeline": "0"})
    with pytest.raises(DistokError, match="by another pipeline with the same text encoder, or at another guidance"):
        Trainer(short(estimate_count=0), backend, None, NAMES, other)
    with pytest.raises(DistokError, match=rf"nothing would use the bank's {len(bank)} readings; set it to {len(bank)} to"):
        Trainer(short(estimate_count=0, bank_count=0, steps=3, estimate_every=5), backend, None, NAMES, bank)
    with pytest.raises(DistokError, match="foresight has no readings to learn from: estimate_count is 0 and there is no bank"):
        Trainer(short(estimate_count=0, delta=0.3, bank_count=4), backend, None, NAMES)


def test_a_bank_that_may_show_what_is_held_out_is_refused(backend, bank):
    held = short(estimate_count=0, held_out=[("pig", "cat")])
    for known in ({}, {"held_out": []}, {"held_out": [["dog", "lion"]]}):
        with pytest.raises(DistokError, match="holds out sets of classes that the estimation bank may show mixed"):
            Trainer(held, backend, None, NAMES, replace(bank, record={**bank.record, **known}))
    fitting = replace(bank, record={**bank.record, "held_out": [["cat", "pig"], ["dog", "lion"]]})
    assert Trainer(held, backend, None, NAMES, fitting).bank is fitting


def test_a_bank_of_something_else_is_refused(backend, bank, tmp_path):
    for changed in (replace(bank, names=NAMES[::-1]), replace(bank, record={**bank.record, "backend": "0"})):
        with pytest.raises(DistokError, match="collected for other classes or another text encoder"):
            Trainer(short(estimate_count=0), backend, None, NAMES, changed)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(DistokError, match="not a readable safetensors file"):
        Bank.load(tmp_path / "model.safetensors")


def test_what_a_run_needs_is_asked_for(backend, labeler):
    with pytest.raises(DistokError, match="no labeler to read them; give one, or set estimate_count=0"):
        Trainer(short(), backend, None, NAMES)
    with pytest.raises(DistokError, match=r"3 class names \(2 different\); give at least 2, each once"):
        Trainer(short(), backend, labeler, ["cat", "dog", "cat"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["tench, Tinca tinca", "goldfish"], "'tench, Tinca tinca' cannot name a class"),
        (["Cat", "cat"], "class 'cat' is named twice"),
        ([f"thing{i}" for i in range(1001)], "1001"),
        (["cat dog", "pig", "dog cat"], "the classes 'cat dog' and 'dog cat' are one token to this text encoder"),
        (["a <tcrt>", "cat"], "the class name 'a <tcrt>' holds <tcrt>"),
    ],
)
def test_names_that_no_mix_can_say_are_refused_before_a_step(names, said, backend, labeler):
    with pytest.raises(DistokError, match=re.escape(said)):
        Trainer(short(), backend, labeler, names)


def test_a_labeler_that_reads_no_numbers_is_said_so_at_once(backend, labeler, monkeypatch):
    # Of the class: a method that is put back on the labeler itself would hide what a later test puts there.
    unread = lambda self, pictures, names: torch.full((len(pictures), len(names)), torch.nan)  # noqa: E731
    monkeypatch.setattr(type(labeler), "probabilities", unread)
    with pytest.raises(DistokError, match="not one of the labeler's 2 readings is a number; its weights are damaged, or its"):
        read_back(backend, labeler, NAMES, backend.name_tokens(NAMES[:2]), picture_seeds=[[1], [2]], steps=1, size=16)
    with pytest.raises(DistokError, match="the labeler's readings are no numbers; its weights are damaged"):
        labeler.read([Image.new("RGB", (8, 8))], NAMES)


def test_a_folder_that_cannot_be_written_is_found_before_training(backend, labeler, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    built = Trainer(short(), backend, labeler, NAMES)
    monkeypatch.setattr(built, "advance", lambda: pytest.fail("trained in vain"))
    for out in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(DistokError, match=r"file is a file\); choose another folder with --out"):
            built.run(out)


def test_a_blackened_picture_is_not_read(backend, labeler, caplog, monkeypatch):
    """A safety checker's black picture reads as something flat, which would pass for novel."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput

    call = type(backend.pipe).__call__

    def checked(pipe, **options):
        images = call(pipe, **options).images
        images[1] = 0
        return StableDiffusionPipelineOutput(images, [False, True, False][: len(images)])

    monkeypatch.setattr(type(backend.pipe), "__call__", checked)
    tokens = backend.name_tokens(NAMES[:2]).cpu().float()
    read = read_back(backend, labeler, NAMES, tokens, picture_seeds=[[1], [2, 3]], steps=1, size=16)
    assert torch.isfinite(read[0]).all()
    assert torch.isnan(read[1]).all(), "one of its two pictures is black"
    assert "safety checker blackened the pictures of seeds 2" in caplog.text
    foresight = Trainer(short(delta=0.3), backend, labeler, NAMES).foresight
    foresight.remember(tokens, read)
    assert len(foresight) == 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("coarse", [False, True])
def test_pictures_that_are_only_read_are_drawn_coarsely_where_that_is_quick(monkeypatch, device, coarse):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: coarse)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if coarse else (7, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that there is no CUDA here
        how, half = (runtime.quick(torch.device(device), dtype) for dtype in ("float32", "float16"))
    assert isinstance(how, torch.autocast) == coarse
    assert not isinstance(half, torch.autocast), "half-precision weights have a type of their own"
    assert not coarse or (how.fast_dtype, how._cache_enabled) == (torch.bfloat16, False)


def test_what_is_read_back_is_drawn_quickly_and_read_exactly(backend, labeler, monkeypatch):
    told = []

    @contextmanager
    def quick(device, dtype):
        told.append((str(device), dtype))
        yield
        told.append("drawn")

    read = type(labeler).probabilities
    monkeypatch.setattr(runtime, "quick", quick)
    monkeypatch.setattr(type(labeler), "probabilities", lambda *args: told.append("read") or read(*args))
    read_back(backend, labeler, NAMES, backend.name_tokens(NAMES)[:2], picture_seeds=[[1], [2]], steps=1)
    assert told == [("cpu", "float32"), "drawn", "read"]
