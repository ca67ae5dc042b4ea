"""``distok world``: every option reaches the function behind its command, and the sheets are those that the docs show."""

import inspect
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), np.int16)


def test_the_sheets_are_those_of_the_docs(distok_command):
    pytest.importorskip("skia", exc_type=ImportError)
    status, out, _ = distok_command("world", "sheet", "--out", "drawn")
    assert (status, out.split()) == (0, ["drawn/species.png", "drawn/looks.png"])
    for name in ("species.png", "looks.png"):
        drawn, shown = (pixels(Image.open(folder / name)) for folder in (Path("drawn"), DOCS))
        assert drawn.shape == shown.shape
        changed = (np.abs(drawn - shown).max(2) > 16).reshape(len(drawn) // 128, 128, 10, 128).mean((1, 3))
        assert changed.max() < 0.01, f"another drawing in {name}, row and column {np.argwhere(changed >= 0.01).tolist()}"


def test_a_drawing_has_the_accessory_and_is_named_by_it(distok_command):
    pytest.importorskip("skia", exc_type=ImportError)
    from distok.menagerie import draw

    words = ["world", "draw", "pig", "--scene", "beach", "--accessory", "red hat", "--size", 64, "--out", "art"]
    status, out, _ = distok_command(*words)
    assert status == 0
    assert re.fullmatch(r"art/pig100-beach-red_hat-[0-9a-f]{4}-0\.png\n", out)
    with_hat, without = (draw({"pig": 1.0}, 0, scene="beach", accessories=each, size=64) for each in (("red hat",), ()))
    assert np.array_equal(pixels(Image.open(out.strip())), pixels(with_hat))
    assert not np.array_equal(pixels(with_hat), pixels(without))


def test_drawings_of_mixes_that_are_spelled_alike_do_not_meet(distok_command):
    pytest.importorskip("skia", exc_type=ImportError)
    for mix, size in (
        ("pig, sheep, cow, horse, goat", 32),
        ("pig, sheep, cow, horse, cat", 32),
        ("pig, sheep, cow, horse, cat", 64),
    ):
        assert distok_command("world", "draw", mix, "--size", size, "--out", "art")[0] == 0
    assert len(list(Path("art").iterdir())) == 3


def test_a_training_is_given_every_option(distok_command, monkeypatch):
    calls = []
    monkeypatch.setattr("distok.menagerie.train_world", lambda out, **given: calls.append((out, given)))
    words = ["--stage", "vae", "--stage", "bank", "--pictures", "art", "--minutes", 2.5, "--start", "old", "--device", "cuda"]
    status, out, _ = distok_command("world", "train", "--out", "run", *words)
    assert (status, out) == (0, "at most 2.5 minutes a stage, run again to go on: run\n")
    assert distok_command("world", "train", "--out", "run")[:2] == (0, "trained: run\n")
    told = [{name: value for name, value in given.items() if name != "callback"} for _, given in calls]
    chosen = {"stages": ["vae", "bank"], "pictures": Path("art"), "minutes": 2.5, "start": Path("old"), "device": "cuda"}
    assert told == [chosen, {"stages": None, "pictures": None, "minutes": None, "start": None, "device": "cpu"}]
    assert [out for out, _ in calls] == [Path("run")] * 2
    assert all(callable(given["callback"]) for _, given in calls)


def test_a_check_is_given_every_option(distok_command, monkeypatch):
    from distok.evaluation.instrument import check_world
    from distok.evaluation.report import Table

    calls = []

    def checked(*args, **options):
        given = inspect.signature(check_world).bind(*args, **options).arguments
        calls.append({name: value for name, value in given.items() if name != "callback"})
        return {"tables": [Table("The bars", ("figure", "value"), (("kl", "0.1"),))]}

    monkeypatch.setattr("distok.evaluation.check_world", checked)
    words = ["world", "check", "--quick", "--world", "mine", "--out", "report"]
    status, out, _ = distok_command(*words)
    assert (status, "The bars" in out, out.splitlines()[-1]) == (0, True, "report: report/report.html")
    assert distok_command("world", "check")[0] == 0
    assert calls == [
        {"folder": Path("report"), "quick": True, "world": Path("mine"), "command": shlex.join(["distok", *words])},
        {"folder": Path("world-check"), "quick": False, "world": None, "command": "distok world check"},
    ]


def test_a_quick_check_looks_at_that_world_with_fewer_pictures(monkeypatch, tmp_path):
    from distok.errors import UnavailableError
    from distok.evaluation import instrument

    seen = []

    def read_artist(rulers, sizes, callback):
        seen.append((rulers, sizes))
        raise UnavailableError("seen enough")

    monkeypatch.setattr(instrument, "_open_rulers", lambda home: (home, []))
    monkeypatch.setattr(instrument, "read_artist", read_artist)
    for quick in (True, False):
        with pytest.raises(UnavailableError, match="seen enough"):
            instrument.check_world(tmp_path, quick=quick, world=tmp_path / "mine")
    assert seen == [(tmp_path / "mine", instrument.QUICK), (tmp_path / "mine", instrument.Sizes())]
    assert all(getattr(instrument.QUICK, name) < value for name, value in asdict(instrument.Sizes()).items())
