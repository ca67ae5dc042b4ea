"""Rows of another report beside new ones: the same as if all had been measured again, or refused."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from distok import evaluation
from distok.baselines.controls import MeanOfTokens
from distok.errors import DistokError
from distok.evaluation import methods as methods_module
from distok.evaluation import origin
from distok.evaluation.cases import ARTIST
from distok.evaluation.report import CELL, grid, strips
from distok.model import DisTok
from tests.edge import save_model

pytest_plugins = ("tests.evaluation_parts",)

ALL = ("dominant", "mean-of-tokens", "random-z", "sentence")
TITLES = ["DisTok", "dominant class alone", "mean of tokens", "random latent", "sentence with percentages"]


@pytest.fixture(scope="module")
def setup(tmp_path_factory, backend, pipeline_folder, labeler_folder, evaluator):
    folder = tmp_path_factory.mktemp("setup")
    model = save_model(folder / "distok.safetensors", backend)
    evaluator.save(folder / "evaluator.safetensors")
    return evaluation.Setup(pipeline_folder, model, labeler_folder, folder / "evaluator.safetensors")


def measure(out, setup, methods, **asked):
    job = evaluation.Job(out, setup, **{"seeds": 2, "cases": 3, "scorers": {}} | asked, methods=methods)
    tables = evaluation.run("methods", job, "distok evaluate methods")["methods"]
    return json.loads((out / "methods.json").read_text()), tables


@pytest.fixture(scope="module")
def whole(tmp_path_factory, setup):
    """A report of all of the methods, as it lies in a folder of its own, without what it was made from."""
    made, out = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(origin, "commit", lambda: "abc")
        measure(made, setup, ALL)
    for name in ("methods.json", "methods.csv", "methods.png"):
        shutil.copy(made / name, out / name)
    return out


@pytest.fixture
def changed(whole, tmp_path):
    """That report with a part of its JSON file changed."""

    def change(*keys, value):
        folder = tmp_path / "changed"
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        stored = json.loads((folder / "methods.json").read_text())
        inner = stored
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (folder / "methods.json").write_text(json.dumps(stored))
        return folder

    return change


def near(one, other):
    """Whether all numbers of one agree with those of the other."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    return one == pytest.approx(other, abs=2e-4)


def pictures(folder, titles):
    """The pictures of each row of a report's page, without its label."""
    page, height = Image.open(folder / "methods.png").convert("RGB"), CELL + 6
    tops = range(page.height - len(titles) * height, page.height, height)
    return {title: page.crop((190, top, page.width, top + height)) for title, top in zip(titles, tops, strict=True)}


def test_it_is_as_if_all_had_been_measured_again(setup, whole, tmp_path):
    first = json.loads((whole / "methods.json").read_text())
    second, tables = measure(tmp_path, setup, ("sentence",), beside=whole)
    assert {path.name for path in (tmp_path / "items").iterdir()} <= {"distok", "sentence", "artist"}, "no other is drawn"
    artist = [title for title in first["evaluator"]["all"]["methods"] if title == ARTIST]  # where skia is
    order = ["DisTok", "sentence with percentages", "dominant class alone", "mean of tokens", "random latent", *artist]
    for who in ("labeler", "evaluator"):
        assert list(second[who]["all"]["methods"]) == order
        assert near(second[who], first[who]), who
    assert list(second["sets"]) == order
    assert near(second["sets"], first["sets"])
    assert second["settings"] == first["settings"]
    with (tmp_path / "methods.csv").open() as file:
        assert list(dict.fromkeys(row["method"] for row in csv.DictReader(file))) == order
    (taken,) = (table for table in tables if table.title == "Taken over from another report")
    assert taken.rows == tuple((title, str(whole), "abc") for title in order[2:5])
    old, new = (Image.open(folder / "methods.png").convert("RGB") for folder in (whole, tmp_path))
    assert old.size == new.size
    rows = [
        [pictures(folder, titles)[title].tobytes() for title in order]
        for folder, titles in ((whole, TITLES + artist), (tmp_path, order))
    ]
    assert rows[0] == rows[1]
    assert len(set(rows[0])) == len(order)


def test_what_is_taken_over_once_keeps_its_commit(setup, whole, tmp_path):
    measure(tmp_path / "second", setup, ("sentence",), beside=whole)
    third, _ = measure(tmp_path / "third", setup, ("dominant",), beside=tmp_path / "second")
    assert third["beside"]["mean of tokens"] == {"report": str(whole), "commit": "abc"}
    assert third["beside"]["sentence with percentages"]["report"] == str(tmp_path / "second")
    assert "dominant class alone" not in third["beside"]


def test_what_another_distok_or_another_code_would_draw_is_left_out(setup, whole, changed, tmp_path):
    other = DisTok.load(setup.model)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    moved = replace(setup, model=other.save(tmp_path / "other.safetensors", other.provenance))
    assert list(measure(tmp_path / "a", moved, ("sentence",), beside=whole)[0]["beside"]) == TITLES[1:3]
    for keys, value in (
        (("settings", "methods", "mean-of-tokens"), "Settings(other=1)"),
        (("settings", "revisions", "mean-of-tokens"), 7),
        (("settings", "revisions"), {"dominant": 1, "random-z": 1}),
        (("absent", "mean of tokens"), "it had no token"),
    ):
        folder = changed(*keys, value=value)
        assert list(measure(tmp_path / keys[1], setup, ("sentence",), beside=folder)[0]["beside"]) == [TITLES[1], TITLES[3]]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"seeds": 1}, "has other seeds, so its rows do not compare"),
        ({"cases": 4}, "has other cases, so"),
        ({"preset": "menagerie"}, "has other preset, so"),
        (
            {"seeds": 3, "cases": 2},
            "has other seeds and cases, so its rows do not compare with these; ask for the same, or leave",
        ),
    ],
)
def test_a_report_that_does_not_compare_is_refused_before_anything_is_drawn(setup, whole, asked, told, tmp_path):
    with pytest.raises(DistokError, match=told):
        measure(tmp_path, setup, ("sentence",), beside=whole, **asked)
    assert not (tmp_path / "items").exists()


def test_other_pipelines_readers_and_mixes_do_not_compare(setup, whole, changed, tmp_path):
    with pytest.raises(DistokError, match="has other pipeline, guidance or steps, so"):
        measure(tmp_path, replace(setup, guidance_scale=2.5), ("sentence",), beside=whole)
    with pytest.raises(DistokError, match="has other readers, so"):
        measure(tmp_path, setup, ("sentence",), beside=changed("origin", "asked", "hashes", "readers", value=["a", "b"]))
    settings = json.loads((whole / "methods.json").read_text())["settings"]
    folder = changed("settings", value=settings | {"classes": "x", "revision of readings": 0})
    with pytest.raises(DistokError, match="has other classes and revision of readings, so"):
        measure(tmp_path, setup, ("sentence",), beside=folder)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda lines: [line.replace("cat=0.50", "cow=0.50") for line in lines], "has other mixes, so"),
        (lambda lines: [line for line in lines if not line.startswith("mean of tokens,evaluator,0")], "has other mixes, so"),
        (lambda lines: [line for line in lines if not line.startswith("mean of tokens,")], "has other mixes, so"),
        (lambda lines: [*lines, lines[-1], *(line for line in lines if line.startswith("mean"))], "has other mixes, so"),
        (lambda lines: [line.replace(",each_js", ",other") for line in lines], "holds no whole report .*each_js"),
        (lambda lines: [re.sub(r"[^,]+$", "nan", line) if "tokens" in line else line for line in lines], "that are no numbers"),
    ],
)
def test_a_table_that_is_not_whole_is_found_before_anything_is_drawn(spoil, told, setup, changed, tmp_path):
    folder = changed("absent", value={})
    lines = (folder / "methods.csv").read_text().splitlines()
    (folder / "methods.csv").write_text("\n".join(spoil(lines)) + "\n")
    with pytest.raises(DistokError, match=told):
        measure(tmp_path / "out", setup, ("sentence",), beside=folder)
    assert not (tmp_path / "out" / "items").exists()


def test_scores_are_taken_of_the_same_scorer_alone(setup, tmp_path, monkeypatch):
    class Brightness:
        hash = "of the first one"

        def __call__(self, pictures, said):
            return torch.tensor([float(np.asarray(picture).mean()) for picture in pictures])

    monkeypatch.setattr(methods_module, "open_scorers", lambda wanted, settings: dict.fromkeys(wanted, Brightness()))
    first, _ = measure(tmp_path / "first", setup, ("dominant", "sentence"), scorers={"clipscore": None})
    same, _ = measure(tmp_path / "same", setup, ("sentence",), scorers={"clipscore": None}, beside=tmp_path / "first")
    assert near(same["scorers"]["clipscore"], first["scorers"]["clipscore"])
    assert "dominant class alone" in same["scorers"]["clipscore"]
    monkeypatch.setattr(Brightness, "hash", "of another")
    other, _ = measure(tmp_path / "other", setup, ("sentence",), scorers={"clipscore": None}, beside=tmp_path / "first")
    assert "dominant class alone" not in other["scorers"]["clipscore"]
    assert "dominant class alone" in other["evaluator"]["all"]["methods"]


def test_what_searches_by_features_is_left_out_where_they_are_others(setup, changed, monkeypatch, tmp_path):
    monkeypatch.setattr(MeanOfTokens, "needs_features", True)
    folder = changed("origin", "asked", "hashes", "features", value="others")
    assert list(measure(tmp_path, setup, ("sentence",), beside=folder)[0]["beside"]) == [TITLES[1], TITLES[3]]


def test_a_method_of_another_version_and_an_interval_without_ends_are_no_harm(setup, whole, changed, tmp_path):
    stored = json.loads((whole / "methods.json").read_text())
    folder = changed("settings", "methods", value=stored["settings"]["methods"] | {"frobnicate": "Settings()"})
    stored = json.loads((folder / "methods.json").read_text())
    stored["sets"]["mean of tokens"]["vendi"] = {"mean": 2.0, "low": None, "high": None}
    (folder / "methods.json").write_text(json.dumps(stored))
    second, tables = measure(tmp_path, setup, ("sentence",), beside=folder)
    assert second["sets"]["mean of tokens"]["vendi"] == {"mean": 2.0, "low": None, "high": None}
    assert any("2.000 [–, –]" in row for table in tables for row in table.rows)


def test_nothing_to_take_over_and_damaged_reports_are_said(setup, whole, changed, tmp_path):
    with pytest.raises(
        DistokError, match=r"nothing to take over from .*: what it holds is measured here, or changes with the DisTok"
    ):
        measure(tmp_path, setup, ALL, beside=whole)
    with pytest.raises(DistokError, match=r"would be written over while its rows are taken; give another --out"):
        evaluation.Job(whole, beside=whole)
    with pytest.raises(
        DistokError, match="--beside is for 'methods' alone; run that suite by its name, or leave it out for 'pap"
    ):
        evaluation.run("paper", evaluation.Job(tmp_path, setup, beside=whole))
    with pytest.raises(DistokError, match="'fidelity' has no use for --beside, which is for methods; leave it out"):
        evaluation.run("fidelity", evaluation.Job(tmp_path, setup, beside=whole))
    with pytest.raises(
        DistokError, match=re.escape(f"there is no report of methods in {tmp_path}; give a folder of 'distok eval")
    ):
        evaluation.Job(tmp_path, beside=tmp_path)
    for keys, value in (
        (("settings",), None),
        (("origin", "asked"), {}),
        (("sets", "mean of tokens"), 3),
        (("beside",), {"mean of tokens": "x"}),
        (("scorers",), {"clipscore": {"mean of tokens": 3}}),
    ):
        with pytest.raises(DistokError, match="holds no whole report of methods"):
            measure(tmp_path, setup, ("sentence",), beside=changed(*keys, value=value))
    folder = changed("absent", value={})
    (folder / "methods.csv").unlink()
    with pytest.raises(
        DistokError,
        match=r"holds no whole report of methods \(FileNotFoundError.*\); give a folder that 'distok evaluate methods",
    ):
        measure(tmp_path, setup, ("sentence",), beside=folder)


def test_rows_of_a_page_that_is_gone_are_left_white(setup, changed, tmp_path):
    folder = changed("absent", value={})
    (folder / "methods.png").unlink()
    stored, _ = measure(tmp_path, setup, ("sentence",), beside=folder)
    rows = pictures(tmp_path, list(stored["evaluator"]["all"]["methods"]))
    white = [title for title, row in rows.items() if len(row.getcolors(1 << 16)) == 1]
    assert white == ["dominant class alone", "mean of tokens", "random latent"]


def test_strips_are_the_rows_of_a_grid(tmp_path):
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    path = tmp_path / "page.png"
    path.write_bytes(grid({"first": [red, None], "second": [blue, red]}, ["a\nb", "c"]))
    captions = ["a\nb", "c"]
    rows = strips(path, ["first", "second"], captions)
    again = tmp_path / "again.png"
    again.write_bytes(grid(dict(reversed(rows.items())), ["a\nb", "c"]))
    assert strips(again, ["second", "first"], captions)["first"].tobytes() == rows["first"].tobytes()
    assert (rows["first"].getpixel((254, 64)), rows["second"].getpixel((254, 64))) == ((255, 0, 0), (0, 0, 255))
    for other in ((path, ["first"], captions), (path, list("abc"), captions), (path, ["first", "second"], ["a", "c"])):
        assert strips(*other) == {}
    assert strips(path, ["first", "second"], ["a\nb"]) == strips(tmp_path / "gone.png", ["first", "second"], captions) == {}
