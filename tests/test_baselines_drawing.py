"""Methods that call the pipeline's parts themselves: what the library's own rendering promises holds of them too."""

import numpy as np
import pytest
import torch

from distok.backends import open_backend
from distok.baselines import baseline
from distok.baselines.diff_morpher import mixed_steps
from distok.errors import DistokError
from tests import tiny_families
from tests.test_baselines_denoising import PAIR, pixels
from tests.tiny import NAMES


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    return open_backend(tiny_families.save("sd1", tmp_path_factory.mktemp("family") / "sd1"))


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("adaptive-negatives", {}, [(2 * step, 10) for step in range(1, 6)]),
        ("magic-mix", {"k_max": 0.6}, [(2 * step, 6) for step in range(1, 4)]),  # of five steps, the last three
        ("diff-morpher", {"fit_steps": 1, "frames": 0}, [(1, 2), (2, 2)]),  # by picture
    ],
)
def test_progress_is_told_step_by_step_to_the_end(name, settings, told, stable, labeler):
    if name == "diff-morpher":
        pytest.importorskip("peft")
    heard = []
    how = {"steps": 5, "guidance_scale": 3.0, "size": 16, "callback": lambda done, total: heard.append((done, total))}
    baseline(name, **settings).make(stable, labeler, PAIR, [4, 5], names=NAMES, **how)
    assert heard == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("adaptive-negatives", [(2, 9), (4, 9), (6, 9), (7, 9), (8, 9), (9, 9)]),
        ("magic-mix", [(2, 3), (3, 3)]),  # of three steps the last
    ],
)
def test_no_more_are_drawn_together_than_memory_holds_and_progress_goes_on(name, told, stable, labeler, monkeypatch):
    method, how = baseline(name), {"names": NAMES, "steps": 3, "guidance_scale": 3.0, "size": 16}
    whole = method.make(stable, labeler, PAIR, [4, 5, 6], **how)
    together, heard, decode = [], [], stable.pipe.vae.decode
    monkeypatch.setattr(type(stable), "together", lambda self, size: size // 8)
    monkeypatch.setattr(stable.pipe.vae, "decode", lambda z, *more, **named: together.append(len(z)) or decode(z, *more, **named))
    made = method.make(stable, labeler, PAIR, [4, 5, 6], **how, callback=lambda done, total: heard.append((done, total)))
    assert heard == told
    assert set(together) == {1, 2}
    assert np.abs(pixels(made.pictures) - pixels(whole.pictures)).max() <= 1


@pytest.mark.parametrize("name", ["adaptive-negatives", "magic-mix"])
def test_pictures_of_no_numbers_are_black_and_said_so(name, labeler, tmp_path, caplog):
    backend = open_backend(tiny_families.save("sd1", tmp_path / "sd1"))
    for weight in backend.pipe.unet.parameters():
        weight.data.fill_(torch.nan)
    made = baseline(name).make(backend, labeler, PAIR, [4, 5], names=NAMES, steps=3, guidance_scale=3.0, size=16)
    assert pixels(made.pictures).max() == 0
    assert "the pictures of seeds 4, 5 are no numbers and come out black" in caplog.text


@pytest.mark.parametrize("name", ["adaptive-negatives", "magic-mix", "diff-morpher", "names-by-weight"])
def test_a_size_that_the_pipeline_would_round_is_refused_by_each(name, stable, labeler, monkeypatch):
    if name == "diff-morpher":
        pytest.importorskip("peft")
    monkeypatch.setattr(type(stable), "size_step", 16)
    with pytest.raises(DistokError, match="size is 24, but this pipeline draws multiples of 16 pixels; correct it"):
        baseline(name).make(stable, labeler, PAIR, [4], names=NAMES, steps=2, size=24)


def test_steps_of_mixed_attention_are_counted_exactly():
    assert [mixed_steps(50, 0.6), mixed_steps(50, 0.58), mixed_steps(12, 0.6), mixed_steps(7, 1.0)] == [30, 29, 7, 7]
