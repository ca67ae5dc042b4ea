"""Whole runs: interrupted, resumed, refused, and what their result says."""

import csv
import io
import json
import logging
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distok.backends import open_backend
from distok.errors import DistokError
from distok.model import DisTok
from distok.training import (
    MODEL_FILE,
    Trainer,
    TrainSettings,
    checkpoint,
    history,
    runtime,
    train,
)
from distok.training.tasks import random_mixtures
from tests.tiny import NAMES
from tests.tiny import run_settings as short


def interrupt_at(step):
    def callback(report):
        if report["step"] == step:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_run_ends_the_same_to_the_byte(backend, labeler, bank, tmp_path, ema):
    chosen = short(ema_decay=ema)
    whole = train(chosen, backend, labeler, NAMES, tmp_path / "whole", bank=bank)
    for step in (3, 7, 11):
        with pytest.raises(KeyboardInterrupt):
            train(chosen, backend, labeler, NAMES, tmp_path / "parts", interrupt_at(step), bank)
    # How often it saves is no part of what a run is.
    parts = train(replace(chosen, save_every=3), backend, labeler, NAMES, tmp_path / "parts", bank=bank)
    assert parts.read_bytes() == whole.read_bytes()
    last = [(tmp_path / run / "checkpoint-12.safetensors").read_bytes() for run in ("whole", "parts")]
    assert last[0] == last[1], "the optimiser or the pool differ"
    assert train(chosen, backend, labeler, NAMES, tmp_path / "whole", bank=bank).read_bytes() == parts.read_bytes()


def test_the_last_two_checkpoints_are_kept_and_a_corrupt_one_is_passed_over(backend, labeler, tmp_path, caplog):
    chosen = short(save_every=2)
    whole = train(chosen, backend, labeler, NAMES, tmp_path / "whole").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        train(chosen, backend, labeler, NAMES, tmp_path / "run", interrupt_at(9))
    kept = sorted((tmp_path / "run").iterdir())
    assert [path.name for path in kept] == ["checkpoint-6.safetensors", "checkpoint-8.safetensors"]
    damaged = bytearray(kept[1].read_bytes())
    damaged[-1] ^= 1
    kept[1].write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert train(chosen, backend, labeler, NAMES, tmp_path / "run").read_bytes() == whole
    assert "skipping a corrupt checkpoint" in caplog.text
    assert "checkpoint-8.safetensors" in caplog.text


def test_losses_are_told_in_a_table_that_a_kill_neither_tears_nor_doubles(backend, labeler, tmp_path, monkeypatch):
    monkeypatch.setattr(history, "EVERY", 2)
    reports = []
    train(short(save_every=4), backend, labeler, NAMES, tmp_path / "whole", reports.append)
    whole = (tmp_path / "whole" / "losses.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(whole.decode())))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    for row, first, second in zip(rows, reports[::2], reports[1::2], strict=True):
        for name in ("total", "fusion", "consistency", "latent", "foreseen"):
            assert float(row[name]) == pytest.approx((first[name] + second[name]) / 2, rel=1e-4, abs=1e-9), name
        assert float(row["pool"]) == second["pool"]
    assert float(rows[0]["learning_rate"]) > float(rows[-1]["learning_rate"]) > 0
    with pytest.raises(KeyboardInterrupt):
        train(short(save_every=4), backend, labeler, NAMES, tmp_path / "run", interrupt_at(7))
    with (tmp_path / "run" / "losses.csv").open("a") as file:
        file.write("6,1,1,1,1,1,1,1\n")  # as if it had been killed after the table was written and before the checkpoint was
    train(short(save_every=4), backend, labeler, NAMES, tmp_path / "run")
    assert (tmp_path / "run" / "losses.csv").read_bytes() == whole
    for spoilt in (b"no table\n1\n", whole.replace(b"\n", b",restarted here\n").replace(b",restarted here", b"", 1)):
        (tmp_path / "run" / "losses.csv").write_bytes(spoilt)
        for path in (tmp_path / "run").glob("*12.safetensors"):
            path.unlink()
        train(short(save_every=4), backend, labeler, NAMES, tmp_path / "run")
        assert (tmp_path / "run" / "losses.csv").read_bytes() == b"\n".join(whole.splitlines()[i] for i in (0, 5, 6)) + b"\n"
    by_hand = b"\n".join(line + cell for line, cell in zip(whole.splitlines(), (b",note", *[b",x"] * 6), strict=True))
    (tmp_path / "run" / "losses.csv").write_bytes(by_hand)
    for path in (tmp_path / "run").glob("*12.safetensors"):
        path.unlink()
    train(short(save_every=4), backend, labeler, NAMES, tmp_path / "run")
    kept = list(csv.DictReader(io.StringIO((tmp_path / "run" / "losses.csv").read_text())))
    assert [row["note"] for row in kept] == ["x", "x", "x", "x", "", ""], "a column of a person's own is kept"


def test_a_folder_without_a_whole_checkpoint_is_refused(backend, labeler, tmp_path):
    (tmp_path / "checkpoint-4.safetensors").write_bytes(b"half a fi")
    with pytest.raises(DistokError, match=r"no checkpoint in .* can be read; delete the folder to start again"):
        train(short(), backend, labeler, NAMES, tmp_path)


def test_a_model_of_no_known_run_is_not_written_over(backend, labeler, tmp_path):
    (tmp_path / MODEL_FILE).write_bytes(b"a download")
    with pytest.raises(DistokError, match=r"holds a distok.safetensors and no checkpoint that says of which run.* move it away"):
        train(short(), backend, labeler, NAMES, tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(MODEL_FILE, b"a download")]


def test_another_runs_folder_is_refused_and_told_why(backend, labeler, tmp_path):
    train(short(), backend, labeler, NAMES, tmp_path)
    with pytest.raises(DistokError, match=r"holds another run \(alpha 1.0 → 0.5, seed 0 → 7\); resume it with its own settings"):
        train(short(alpha=0.5, seed=7), backend, labeler, NAMES, tmp_path)
    with pytest.raises(DistokError, match=r"holds another run \(names"):
        train(short(), backend, labeler, NAMES[::-1], tmp_path)
    with pytest.raises(DistokError, match=r"holds another run \(held_out\); resume"):
        train(short(held_out=[NAMES[:2]]), backend, labeler, NAMES, tmp_path)
    older, settings = tmp_path / "older", json.loads(short(held_out=[NAMES[:2]]).to_json())
    checkpoint.save(older, 4, {"weight": torch.ones(2)}, {"settings": settings})
    with pytest.raises(DistokError, match=r"holds another run \(begun by a version of distok that trains otherwise\)"):
        checkpoint.latest(older, {"settings": settings, "revision": 2})


def test_a_run_from_before_a_setting_was_there_goes_on_with_its_default(tmp_path):
    older = {"settings": json.loads(short().to_json())}
    del older["settings"]["foreseen_count"]
    checkpoint.save(tmp_path, 4, {"weight": torch.ones(2)}, older)
    step, tensors = checkpoint.latest(tmp_path, {"settings": json.loads(short().to_json())})
    assert (step, tensors["weight"].tolist()) == (4, [1, 1])
    with pytest.raises(DistokError, match=r"holds another run \(foreseen_count 64 → 8\)"):
        checkpoint.latest(tmp_path, {"settings": json.loads(short(foreseen_count=8).to_json())})


def test_a_run_does_not_go_on_with_another_projection(pipeline_folder, labeler, tmp_path):
    """It lies beside the text encoder and decides E(q), which every loss compares."""
    shutil.copytree(pipeline_folder, tmp_path / "other")
    (tmp_path / "other" / "text_encoder" / "projection.safetensors").unlink()
    ours, other = open_backend(pipeline_folder), open_backend(tmp_path / "other")
    assert (ours.hash, ours.fingerprint) == (other.hash, other.fingerprint)
    train(short(steps=3), ours, labeler, NAMES, tmp_path / "run")
    with pytest.raises(DistokError, match=r"holds another run \(features '\w+' → ''"):
        train(short(steps=3), other, labeler, NAMES, tmp_path / "run")
    settings = {"settings": json.loads(short().to_json())}
    checkpoint.save(tmp_path / "older", 4, {"weight": torch.ones(2)}, settings)
    assert checkpoint.latest(tmp_path / "older", settings | {"features": ours.feature_hash}), "begun before it was noted"


def test_a_run_does_not_go_on_with_another_denoiser(pipeline_folder, labeler, tmp_path):
    """The text encoder is the same, so tokens mean the same; what is read from their pictures does not."""
    train(short(steps=3), open_backend(pipeline_folder), labeler, NAMES, tmp_path / "run")
    shutil.copytree(pipeline_folder, tmp_path / "other")
    weights = next((tmp_path / "other" / "unet").glob("*.safetensors"))
    save_file({name: 1.1 * tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    other = open_backend(tmp_path / "other")
    with pytest.raises(DistokError, match=r"holds another run \(pipeline '\w+' → '\w+'\)"):
        train(short(steps=3), other, labeler, NAMES, tmp_path / "run")
    blind = short(steps=3, estimate_count=0, delta=0.0, bank_count=0)
    train(blind, open_backend(pipeline_folder), None, NAMES, tmp_path / "blind")
    train(blind, other, None, NAMES, tmp_path / "blind")  # nothing was drawn, so nothing differs


def test_the_result_says_where_it_comes_from(backend, labeler, tmp_path):
    reports = []
    path = train(short(), backend, labeler, NAMES, tmp_path, reports.append)
    model = DisTok.load(path)
    assert path == tmp_path / MODEL_FILE
    assert [report["step"] for report in reports] == list(range(1, 13))
    assert {"total", "fusion", "consistency", "latent", "foreseen", "pool", "steps"} < set(reports[-1])
    assert model.provenance["backend"] == backend.hash
    assert "quantile of the cosines" in model.provenance["thresholds"]
    stored = TrainSettings.from_json(model.provenance["settings"])
    assert stored == replace(short(), save_every=500, **{
        name: getattr(stored, name) for name in ("epsilon_restrictive", "epsilon_aesthetic")
    })  # fmt: skip
    assert isinstance(stored.epsilon_restrictive, float)


def test_the_learning_rate_warms_up_and_decays(backend):
    built = Trainer(short(estimate_count=0, steps=100, warmup=10, learning_rate=0.5), backend, None, NAMES)
    rates = []
    for built.step in range(100):
        rates.append(built.learning_rate())
    assert rates[:10] == pytest.approx([0.05 * i for i in range(1, 11)])
    assert rates[55] == pytest.approx(0.25)
    assert rates[99] < 0.001
    built.step = 4
    built.advance()
    assert built.optimizer.param_groups[0]["lr"] == pytest.approx(0.25)


def test_threads_are_those_of_the_settings_and_then_the_callers_again(backend, labeler, tmp_path):
    seen = []

    def look(report):
        seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))

    torch.set_num_threads(2)
    try:
        train(short(steps=2), backend, labeler, NAMES, tmp_path, look)
        assert seen == [(1, True)] * 2
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, False)
    finally:
        torch.set_num_threads(1)


def test_what_only_cpus_can_promise_is_not_warned_of(recwarn):
    with runtime.deterministic(torch.get_num_threads()):
        warnings.warn("Memory Efficient attention defaults to a non-deterministic algorithm. To ...", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(each.message) for each in recwarn] == ["something else"]


def test_the_latent_law_is_that_of_encoded_mixtures(backend, labeler, tmp_path):
    model = DisTok.load(train(short(estimate_active=3, estimate_count=0), backend, labeler, NAMES, tmp_path))
    mixtures = torch.from_numpy(random_mixtures(np.random.default_rng(5), 4000, 6, 3)) @ backend.name_tokens(NAMES)
    latents = model.encode(mixtures).detach()
    sampled = model.sample_latents(torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)))
    scale = latents.std(0).mean()
    assert ((latents.mean(0) - sampled.mean(0)).abs() < 0.15 * scale).all()
    assert ((latents.std(0) - sampled.std(0)).abs() < 0.15 * scale).all()


def test_the_callers_random_state_is_left_alone(backend, labeler):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Trainer(short(), backend, labeler, NAMES).advance()
    assert torch.equal(before, torch.get_rng_state())
