"""Parts that take turns on a device. No GPU here: "cpu:0" stands for one, and who was sent where, and when, is recorded."""

import json

import numpy as np
import pytest
import torch

from distok.backends import open_backend
from distok.backends.offload import place, resting
from distok.baselines import baseline
from distok.distribution import Distribution
from distok.errors import UnavailableError
from distok.labelers import open_labeler
from distok.training.estimation import read_back
from tests import tiny_families, tiny_labelers
from tests.tiny import NAMES

pytest.importorskip("accelerate")
FAMILIES = ("sd1", "sdxl", "sd3", "flux", "kandinsky21", "kandinsky22")
HOW = {"steps": 2, "size": 64}
PROMPTS = ["a photo of a <tcrt_0>", "a red cat"]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    folder = tiny_families.save(request.param, tmp_path_factory.mktemp("offload") / request.param)
    (folder / "distok.json").write_text(json.dumps({"prior_steps": 2}))
    return folder


def placed(folder, mode, dtype=None):
    """A backend whose parts take turns, as :func:`open_backend` makes one on a GPU."""
    plain = open_backend(folder, dtype=dtype)
    placement = place(plain.pipe, "cpu" if mode == "low" else "cpu:0", mode)  # accelerate's layers do not know "cpu:0"
    backend = type(plain)(plain.pipe, plain.defaults)
    backend.placement = placement
    return backend


@pytest.fixture
def moves(monkeypatch):
    """Every ``.to(device)`` of a whole network, as (class, device), in order."""
    told, to = [], torch.nn.Module.to

    def recorded(module, *given, **named):
        told.append((type(module).__name__, str(given[0])))
        return to(module, *given, **named)

    monkeypatch.setattr(torch.nn.Module, "to", recorded)
    return told


@pytest.mark.parametrize("mode", ["balanced", "low"])
def test_taking_turns_changes_no_picture_hash_or_gradient(folder, mode, double):
    plain, backend = open_backend(folder, dtype=torch.float64), placed(folder, mode, torch.float64)
    tokens = plain.name_tokens(["dog"]).double() * 1.1
    for negative in (None, "snow"):
        options = {"seeds": [3, 4], "negative_prompt": negative, **HOW}
        mine, own = (each.render_pixels(PROMPTS, tokens, **options) for each in (backend, plain))
        assert torch.allclose(mine, own, atol=1e-5)
        assert own.std() > 1e-2
    assert (backend.hash, backend.pipeline_hash) == (plain.hash, plain.pipeline_hash)
    slopes = []
    for each in (plain, backend):
        given = tokens.clone().requires_grad_()
        each.encode(PROMPTS, given).sum().backward()
        slopes.append(given.grad)
    assert torch.equal(*slopes)
    assert slopes[0].abs().max() > 0


def test_a_layer_at_a_time_leaves_no_weight_behind(folder):
    backend = placed(folder, "low")
    backend.render_pixels(PROMPTS[1:], seeds=[0], **HOW)
    assert backend.placement.stored.keys() >= {"vae"} or backend.placement.stored.keys() >= {"movq"}
    for name in backend.placement.stored:
        assert {p.device.type for p in getattr(backend.pipe, name).parameters()} == {"meta"}, name


def test_a_part_comes_when_it_is_called_and_all_leave_at_the_end(folder, moves):
    backend = placed(folder, "balanced")
    visiting = [type(part).__name__ for part in backend.placement.visiting]
    assert not any("Text" in name or "T5" in name or name == "MultilingualCLIP" for name in visiting)
    moves.clear()
    with pytest.raises(ZeroDivisionError):
        backend.render_pixels(PROMPTS[1:], seeds=[0], callback=lambda done, total: 1 / 0, **HOW)
    assert moves[-len(visiting) :] == [(name, "cpu") for name in visiting], "an error leaves weights on the device"
    moves.clear()
    backend.render_pixels(PROMPTS[1:], seeds=[0], **HOW)
    assert moves[-len(visiting) :] == [(name, "cpu") for name in visiting]
    came = list(dict.fromkeys(name for name, device in moves if device == "cpu:0"))
    assert came[-1] in ("AutoencoderKL", "AutoencoderTiny", "VQModel")
    assert set(came) == set(visiting)


@pytest.mark.parametrize("kind", ["clip", "ensemble"])
def test_labeler_and_pipeline_are_never_on_the_device_together(tmp_path, moves, monkeypatch, kind):
    backend = placed(tiny_families.save("sd1", tmp_path / "pipeline"), "balanced")
    names = ["clip", "siglip2"] if kind == "ensemble" else [kind]
    labeler = open_labeler(",".join(str(tiny_labelers.SAVERS[name](tmp_path / name)) for name in names))
    readers = [type(network).__name__ for network in labeler.networks]
    assert readers == {"clip": ["CLIPModel"], "ensemble": ["CLIPModel", "Siglip2Model"]}[kind]
    read = type(labeler).probabilities
    monkeypatch.setattr(type(labeler), "probabilities", lambda *given: (moves.append(("reading", "")), read(*given))[1])
    moves.clear()
    tokens = backend.name_tokens(NAMES[:2])
    read_back(backend, labeler, NAMES, tokens, picture_seeds=[[1], [2]], steps=1, size=16)
    painters = {"UNet2DConditionModel", "AutoencoderTiny"}
    seen = [move for move in moves if move[0] in {*painters, *readers, "reading"}]
    waits, visits, returns = seen[: len(readers)], seen[len(readers) : -len(readers) - 1], seen[-len(readers) - 1 :]
    assert waits == [(name, "cpu") for name in readers]
    assert {name for name, _ in visits} == painters
    assert set(visits[-2:]) == {(name, "cpu") for name in painters}, "painters are still there when the labeler comes back"
    assert returns == [*((name, "cpu") for name in readers), ("reading", "")]


def test_who_rests_goes_back_to_where_it_was(monkeypatch):
    told = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: told.append((module, str(device))))
    here, there = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1, device="meta")  # stands for a GPU

    def work():
        with resting([here, there]):
            assert told == [(here, "cpu"), (there, "cpu")]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert told[2:] == [(here, "cpu"), (there, "meta")]


def test_networks_come_back_when_memory_runs_out(tmp_path, moves, monkeypatch):
    backend = placed(tiny_families.save("sd1", tmp_path / "pipeline"), "balanced")
    labeler = open_labeler(tiny_labelers.SAVERS["clip"](tmp_path / "labeler"))
    before = labeler.probabilities(backend.render(PROMPTS[1:], seeds=[0], **HOW), NAMES)
    denoise = backend._denoise

    def full(*given):
        denoise(*given)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend, "_denoise", full)
    moves.clear()
    with pytest.raises(torch.OutOfMemoryError):
        read_back(backend, labeler, NAMES, backend.name_tokens(NAMES[:1]), picture_seeds=[[1]], steps=1, size=16)
    assert moves[0] == moves[-1] == ("CLIPModel", "cpu")
    assert set(moves[-3:-1]) == {("UNet2DConditionModel", "cpu"), ("AutoencoderTiny", "cpu")}
    monkeypatch.undo()
    assert torch.equal(labeler.probabilities(backend.render(PROMPTS[1:], seeds=[0], **HOW), NAMES), before)


@pytest.mark.parametrize("mode", ["balanced", "low"])
@pytest.mark.parametrize("name", ["magic-mix", "adaptive-negatives"])
def test_methods_that_call_the_parts_themselves_let_them_take_turns(tmp_path, moves, labeler, name, mode):
    folder = tiny_families.save("sd1", tmp_path / "pipeline")
    how = {"names": NAMES, "steps": 4, "guidance_scale": 3.0, "size": 16}
    mix = Distribution(("cat", "dog"), (0.6, 0.4))
    wanted = baseline(name).make(open_backend(folder), labeler, mix, [3, 4], **how)
    backend = placed(folder, mode)
    made = baseline(name).make(backend, labeler, mix, [3, 4], **how)
    assert made.details == wanted.details
    for mine, own in zip(made.pictures, wanted.pictures, strict=True):
        assert np.abs(np.asarray(mine, dtype=int) - np.asarray(own, dtype=int)).max() <= 1
    visiting = [type(part).__name__ for part in backend.placement.visiting]
    assert moves[len(moves) - len(visiting) :] == [(name, "cpu") for name in visiting]


def test_diffmorpher_says_that_it_cannot_take_turns(tmp_path):
    pytest.importorskip("peft")
    backend = placed(tiny_families.save("sd1", tmp_path / "pipeline"), "balanced")
    with pytest.raises(UnavailableError, match="whole pipeline on the device, not offload balanced; use --offload fast"):
        baseline("diff-morpher").make(backend, None, Distribution(("cat", "dog"), (0.6, 0.4)), [3], size=16)


def test_nothing_moves_where_everything_fits(backend, labeler, moves):
    read_back(backend, labeler, NAMES, backend.name_tokens(NAMES[:1]), picture_seeds=[[1]], steps=1)
    assert not [move for move in moves if move[0] in ("CLIPModel", "UNet2DConditionModel", "AutoencoderTiny")]
