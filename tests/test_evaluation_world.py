"""The check of a world, speed, and suites by name."""

import json
import sys
from dataclasses import replace

import pytest

import distok
from distok import evaluation
from distok.backends import open_backend
from distok.errors import DistokError
from distok.evaluation import suites
from distok.evaluation.speed import _call, speed
from distok.model import DisTok, DisTokSettings
from tests.edge import CommandLine, save_model

pytest_plugins = ("tests.evaluation_parts",)


def test_a_world_is_checked_by_what_it_holds(patient, evaluator, labeler_folder, tmp_path):
    """The evaluator alone first, then with labeler and pipeline, then with a DisTok."""
    from distok.evaluation.instrument import Sizes
    from distok.menagerie.species import NAMES as SPECIES

    sizes = Sizes(drawn=6, seeds=1, species=2, tokens=2, reused=1)
    world = tmp_path / "world"
    with pytest.raises(DistokError, match=r"there is no evaluator at .*distok world train"):
        evaluation.check_world(tmp_path / "out", world=world)
    evaluator.save(world / "evaluator.safetensors")
    told = []
    found = evaluation.check_world(tmp_path / "out", lambda *report: told.append(report), world=world, sizes=sizes)
    assert found["missing"] == ["labeler", "pipeline"]
    assert told[-1] == ("the artist's own pictures", 8, 8)
    assert {"evaluator: KL, four, weighted", "evaluator: both parents the top 2, pairs, equal"} <= set(found["figures"])
    (world / "pipeline").symlink_to(patient / "pipeline")
    (world / "labeler").symlink_to(labeler_folder)
    full = evaluation.check_world(tmp_path / "out", world=world, sizes=sizes)
    assert full["missing"] == ["distok.safetensors"]
    assert found["figures"].items() <= full["figures"].items(), "what the artist drew reads the same again"
    wanted = {
        "labeler: top-1, single species",
        "checkpoint: style neon",
        "checkpoint: scene beach",
        "checkpoint: accessory red hat",
    }
    assert wanted <= set(full["figures"])
    assert (
        full["figures"]["checkpoint: Fréchet distance to the artist"] > full["figures"]["the artist: Fréchet distance to himself"]
    )
    bars = {each["figure"]: each for each in full["bars"]}
    assert bars["checkpoint: top-1, single species"]["passed"] is False, "an untrained pipeline draws no species"
    stored = json.loads((tmp_path / "out" / "world.json").read_text())
    assert stored["figures"].keys() == full["figures"].keys()
    assert "MISS" in (tmp_path / "out" / "world.md").read_text()
    backend = open_backend(patient / "pipeline")
    model = DisTok(DisTokSettings(backend.token_dim, latent_dim=4, hidden_dim=16))
    model.fit_tokens(backend.name_tokens(SPECIES))
    model.save(world / "distok.safetensors", {"names": json.dumps(SPECIES), "backend": backend.hash})
    last = evaluation.check_world(tmp_path / "out", world=world, sizes=sizes)
    assert last["missing"] == []
    assert "reuse: JS between different tokens" in last["figures"]


def test_speed_times_pictures_and_commands(bench, pipeline_folder, model_file, labeler_folder):
    options = ("--backend", str(pipeline_folder), "--model", str(model_file), "--labeler", str(labeler_folder))
    figures = speed(bench, options, repeats=1, batch=2).figures["figures"]
    assert set(figures) == {
        "speed: seconds a picture, batch of 2",
        "speed: seconds from cold, distok create -n 4",
        "speed: seconds, distok --help",
    }
    assert all(value > 0 for value in figures.values())
    with pytest.raises(DistokError, match="'distok nonsense' failed"):
        _call(["nonsense"])


def test_a_suite_by_name_resumes_and_reports(pipeline_folder, model_file, labeler_folder, tmp_path):
    setup = evaluation.Setup(pipeline_folder, model_file, labeler_folder)
    told = []
    job = evaluation.Job(tmp_path, setup, seeds=1, cases=2, callback=lambda *report: told.append(report))
    tables = evaluation.run("fidelity", job)
    assert tables["fidelity"][0].title == "Fidelity by the labeler"
    assert ("fidelity: DisTok", 2, 2) in told
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png") if "items" in path.parts}
    evaluation.run("fidelity", replace(job, seeds=2))
    again = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png") if "items" in path.parts}
    assert {path: again[path] for path in made} == made, "what was there is not made again"
    assert len(again) == 2 * len(made)


@pytest.mark.parametrize(
    ("suite", "changes", "text"),
    [
        ("fidelty", {}, "did you mean 'fidelity'"),
        ("x", {}, "choose world, fidelity, methods"),
        ("fidelity", {"methods": ("basss",)}, "no baseline 'basss'; did you mean 'bass'"),
        ("fidelity", {"seeds": 0}, "seeds is 0; ask for 1 to 50"),
        ("fidelity", {"seeds": 51}, "seeds is 51; ask for 1 to 50"),
        ("fidelity", {"cases": 1}, "an interval needs at least 2"),
        ("fidelity", {"steps": 0}, "train for at least 1"),
        ("world", {"setup": evaluation.Setup("x")}, "measures the shipped world as it is, on the CPU; leave --backend out"),
        ("world", {"setup": evaluation.Setup(model="x")}, "leave --model out for it"),
        ("world", {"setup": evaluation.Setup(guidance_scale=3.0)}, "leave --guidance-scale out for it"),
        ("world", {"setup": evaluation.Setup(denoising_steps=3)}, "leave --denoising-steps out for it"),
    ],
)
def test_what_cannot_be_run_is_refused_with_one_line(suite, changes, text, tmp_path):
    with pytest.raises(DistokError, match=text):
        evaluation.run(suite, evaluation.Job(tmp_path, **changes))


def test_in_a_group_the_world_says_why_it_is_not_measured_and_the_others_go_on(
    pipeline_folder, model_file, labeler_folder, tmp_path, monkeypatch
):
    monkeypatch.setitem(suites.GROUPS, "all", ("world", "fidelity"))
    job = evaluation.Job(tmp_path, evaluation.Setup(pipeline_folder, model_file, labeler_folder), seeds=1, cases=2)
    tables = evaluation.run("all", replace(job, methods=("dominant",)))
    reason = "'world' measures the shipped world as it is, on the CPU; leave --backend out for it"
    assert [(table.title, table.rows) for table in tables["world"]] == [("Could not be measured", (("world", reason),))]
    assert tables["fidelity"][0].title == "Fidelity by the labeler"
    assert reason in (tmp_path / "world.md").read_text(), "and not the table of another run"
    monkeypatch.setitem(sys.modules, "skia", None)
    (table,) = suites._world(evaluation.Job(tmp_path), "", alone=False)
    assert table.rows == (("world", "drawing needs skia-python; install it with: pip install skia-python"),)


def test_a_model_of_other_classes_on_the_shipped_pipeline_is_measured_without_the_evaluator(
    backend, pipeline_folder, labeler_folder, tmp_path, monkeypatch
):
    ours, whole = distok.open, evaluation.Setup(model=save_model(tmp_path / "m.safetensors", backend, names=("pig", "sofa")))
    monkeypatch.setattr(distok, "open", lambda _, model, *others, **more: ours(pipeline_folder, model, labeler_folder))
    bench = whole.open(tmp_path)
    assert (bench.names, bench.rulers.who) == (("pig", "sofa"), ("labeler",))


def test_the_command_line_shows_the_tables(capsys, monkeypatch, pipeline_folder, model_file, labeler_folder, tmp_path):
    call = CommandLine(capsys, monkeypatch)
    parts = ("--backend", pipeline_folder, "--model", model_file, "--labeler", labeler_folder)
    status, out, _ = call("evaluate", "fidelity", "--out", tmp_path / "r", "--seeds", 1, "--cases", 2, *parts)
    assert status == 0
    assert "Fidelity by the labeler" in out
    assert "mean of tokens" in out
    status, _, err = call("evaluate", "nonsense", "--out", tmp_path / "r", *parts)
    assert (status, len(err.strip().splitlines())) == (2, 1)
