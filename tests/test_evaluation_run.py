"""Every suite by its name, as ``distok evaluate`` runs it: the job reaches it, and a report comes out."""

import json
import re
from dataclasses import replace

import pytest

from distok import evaluation
from distok.backends import open_backend
from distok.baselines.concept_lab import ConceptLab
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.evaluation import ablation as variants
from distok.evaluation import job as jobs
from distok.evaluation import speed, suites
from distok.evaluation.contest import Contest
from distok.evaluation.report import Result
from distok.model import DisTok
from distok.training import Bank, collect, mixture_tokens
from distok.training.tasks import Allowed
from tests import tiny
from tests.edge import save_model
from tests.tiny import NAMES, run_settings

pytest_plugins = ("tests.evaluation_parts",)

WRITES = {  # a table of each suite, and whether it has a row for each case
    "fidelity": ("Fidelity by the evaluator", True),
    "methods": ("Fidelity by the evaluator", True),
    "cost": ("Time per concept", False),
    "exploration": ("Random exploration", False),
    "surprise": ("Open-ended exploration", False),
    "sweep": ("One weight swept", True),
    "reuse": ("One token in many looks", False),
    "map": ("The latent space", False),
    "series": ("Fusion as training goes on", False),
    "sensitivity": ("Sensitivity", True),
    "refinement": ("The closed loop, by the evaluator", True),
    "ablation": ("Ablation by the evaluator", True),
    "speed": ("Speed", False),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, labeler_folder, evaluator):
    """A setup whose text encoder takes the long prompts of ``reuse``, with a model that knows how it was trained."""
    folder = tmp_path_factory.mktemp("world")
    tiny.save_pipeline(folder / "pipeline", length=77)
    backend = open_backend(folder / "pipeline")
    evaluator.save(folder / "evaluator.safetensors")
    model = DisTok.load(save_model(folder / "distok.safetensors", backend))
    model.save(folder / "distok.safetensors", {**model.provenance, "settings": run_settings(steps=2).to_json()})
    return evaluation.Setup(folder / "pipeline", folder / "distok.safetensors", labeler_folder, folder / "evaluator.safetensors")


@pytest.fixture(scope="module")
def bank(world, labeler, tmp_path_factory):
    backend, path = open_backend(world.backend), tmp_path_factory.mktemp("bank") / "bank.safetensors"
    tokens = mixture_tokens(backend.name_tokens(NAMES).cpu().float(), Allowed.among(NAMES, ()), 6)
    collect(backend, labeler, NAMES, tokens, path, renders=1, steps=1)
    assert len(Bank.load(path)) == 6
    return path


@pytest.fixture
def short(monkeypatch):
    """What takes long is made short: a search of 2 500 steps, concepts by the dozen, 25 trainings, processes started anew."""
    few = {"steps_of_training": 2, "query_every": 1, "templates": ("a photo of a {}",)}
    monkeypatch.setattr(ConceptLab, "MENAGERIE", {**ConceptLab.MENAGERIE, **few})
    monkeypatch.setattr(suites, "CONCEPTS", 2)
    monkeypatch.setattr(suites, "EXPLORED", 4)
    monkeypatch.setattr(suites, "DIVERSE", 4)
    monkeypatch.setattr(variants, "VARIANTS", {name: variants.VARIANTS[name] for name in ("ours", "ours, without L_reg")})
    called = []
    monkeypatch.setattr(speed, "_call", called.append)
    return called


@pytest.mark.parametrize("suite", WRITES)
def test_every_suite_runs_by_its_name(suite, world, bank, short, tmp_path):
    pytest.importorskip("matplotlib")
    methods = {"refinement": ("weighting-refined",)}.get(suite, ("dominant",))
    options = {"cases": 2, "bank": bank, "steps": 2, "methods": methods, "preset": "menagerie"}
    job = evaluation.Job(tmp_path, world, 1, **{name: options[name] for name in suites.TAKES.get(suite, ()) if name in options})
    tables = evaluation.run(suite, job, f"distok evaluate {suite}")
    assert list(tables) == [suite]
    title, by_case = WRITES[suite]
    assert any(table.title.startswith(title) for table in tables[suite]), [table.title for table in tables[suite]]
    stored = json.loads((tmp_path / f"{suite}.json").read_text())
    assert stored["origin"]["command"] == f"distok evaluate {suite}"
    assert (tmp_path / f"{suite}.csv").is_file() == by_case
    assert f'id="{suite}"' in (tmp_path / "report.html").read_text()
    if suite == "speed":
        assert ["--backend", str(world.backend)] == short[0][short[0].index("--backend") :][:2]


@pytest.mark.parametrize(
    ("suite", "option", "told"),
    [
        ("map", {"preset": "published"}, "'map' has no use for --preset, which is for fidelity, methods, cost, surprise, sens"),
        ("exploration", {"cases": 3}, "'exploration' has no use for --cases, which is for"),
        ("series", {"training_seeds": (1, 2)}, "'series' has no use for --training-seeds, which is for ablation; leave it out"),
        ("cost", {"scorers": {}}, "'cost' has no use for --scorer, which is for methods; leave it out"),
        ("all", {"steps": 5}, "'all' has no use for --steps, which is for series, ablation; leave it out"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(suite, option, told, world, tmp_path):
    with pytest.raises(DistokError, match=re.escape(told)):
        evaluation.run(suite, evaluation.Job(tmp_path, world, **option))
    with pytest.raises(DistokError, match="there is no preset 'nope'; choose published or menagerie"):
        evaluation.Job(tmp_path, world, preset="nope")


def test_the_table_above_has_every_suite_and_the_groups_name_some():
    assert {*WRITES, "world"} == set(evaluation.SUITES)
    assert all(set(members) <= set(evaluation.SUITES) for members in suites.GROUPS.values())


def test_a_group_runs_its_suites_and_a_second_time_none(world, tmp_path, monkeypatch):
    from distok.evaluation import origin

    monkeypatch.setattr(origin, "commit", lambda: "abc")
    monkeypatch.setitem(suites.GROUPS, "two", ("fidelity", "sweep"))
    pytest.importorskip("matplotlib")
    job = evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",))
    first = evaluation.run("two", job)
    assert list(first) == ["fidelity", "sweep"]
    monkeypatch.setattr(suites, "_RUN", dict.fromkeys(suites._RUN))
    assert evaluation.run("two", job) == first


def test_the_cases_of_a_group_leave_the_pairs_that_are_timed_as_they_are(world, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setitem(suites.GROUPS, "two", ("cost", "fidelity"))
    monkeypatch.setattr(suites, "_run", lambda name, bench, job, alone: asked.append((name, job.cases)) or Result(name, {}, ()))
    job = evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",))
    for suite in ("two", "cost"):
        evaluation.run(suite, job)
    assert asked == [("cost", None), ("fidelity", 2), ("cost", 2)]


def test_a_group_names_what_cannot_be_measured_and_goes_on(world, tmp_path, monkeypatch):
    """Classes of one's own have no evaluator; a refinement is of the methods that refine."""
    from distok.evaluation import origin

    pytest.importorskip("matplotlib")
    monkeypatch.setattr(origin, "commit", lambda: "abc")
    monkeypatch.setitem(suites.GROUPS, "three", ("exploration", "refinement", "sweep"))
    blind = replace(world, evaluator=None)
    job = evaluation.Job(tmp_path, blind, seeds=1, cases=2, methods=("dominant", "weighting-refined"), preset="menagerie")
    tables = evaluation.run("three", job)
    assert list(tables) == ["exploration", "refinement", "sweep"]
    assert tables["exploration"][0].rows == (
        ("exploration", "this needs the independent evaluator; give its file with --evaluator"),
    )
    assert "Could not be measured" in (tmp_path / "report.html").read_text()
    assert {row[0] for row in tables["refinement"][0].rows} == {"prompt weighting"}
    with pytest.raises(DistokError, match="this needs the independent evaluator"):
        evaluation.run("exploration", evaluation.Job(tmp_path, blind, seeds=1))
    with pytest.raises(DistokError, match="dominant refines nothing; choose distok-refined or weighting-refined"):
        evaluation.run("refinement", job)


def test_a_fault_of_the_disk_is_no_method_that_could_not_take_part(world, tmp_path, monkeypatch):
    def full(*_):
        raise DistokError("cannot write x (No space left on device); free some space or choose another folder")

    monkeypatch.setattr("distok.evaluation.contest.write_bytes", full)
    with pytest.raises(DistokError, match="No space left"):
        evaluation.run("fidelity", evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",)))


def test_a_report_cut_short_is_not_taken_for_a_whole_one(world, tmp_path, monkeypatch):
    from distok.evaluation import origin, report

    monkeypatch.setattr(origin, "commit", lambda: "abc")
    job = evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",))
    with monkeypatch.context() as patch:
        patch.setattr(report, "write_index", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            evaluation.run("fidelity", job)
    assert not (tmp_path / "fidelity.json").exists()
    evaluation.run("fidelity", job)
    assert (tmp_path / "fidelity.json").exists()
    assert (tmp_path / "report.html").exists()


def test_weights_of_a_scorer_that_came_later_are_asked(world, tmp_path, monkeypatch):
    from distok.evaluation import origin

    monkeypatch.setattr(origin, "commit", lambda: "abc")
    job = evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",), scorers={"clipscore": tmp_path / "weights"})
    first = evaluation.run("methods", job)["methods"]
    assert "missing" in first[-1].rows[0][1]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    second = evaluation.run("methods", job)["methods"]
    assert second[-1] != first[-1]
    from distok.scorers import located

    before = located(job.scorers)
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"converted in place")
    weighed = located(job.scorers)
    assert weighed != before, "what was scored without them does not stand"
    (tmp_path / "weights" / "tokenizer.json").write_text("{}")
    assert located(job.scorers) != weighed, "nor what was found missing for want of a tokenizer"
    with pytest.raises(DistokError, match="unknown scorer 'clipscor'; choose one of"):
        evaluation.Job(tmp_path, scorers={"clipscor": None})


def test_a_series_is_not_taken_over_from_another_run(world, tmp_path, monkeypatch):
    from distok.evaluation.series import series

    bench = world.open(tmp_path)
    kept = {"seeds": 1, "chains": 2, "marks": (1, 2)}
    series(bench, tmp_path / "run", **kept)
    (tmp_path / "run" / "at-1.safetensors").unlink()
    with pytest.raises(DistokError, match=r"at-1.safetensors is gone, and the training in .*run is past that step; delete"):
        series(bench, tmp_path / "run", **kept)
    settings = run_settings(steps=2, learning_rate=0.5)
    monkeypatch.setattr("distok.evaluation.series.settings_of", lambda *_: settings)
    with pytest.raises(DistokError, match="holds another run"):
        series(bench, tmp_path / "run", **kept)


def test_a_method_whose_code_changed_is_drawn_again(world, tmp_path, monkeypatch):
    from distok.baselines import baseline_class
    from distok.evaluation import origin

    monkeypatch.setattr(origin, "commit", lambda: "abc+")
    job = evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",))
    evaluation.run("fidelity", job)
    monkeypatch.setattr(baseline_class("dominant"), "revision", 2)
    evaluation.run("fidelity", job)
    assert len(list((tmp_path / "items" / "dominant").glob("*.safetensors"))) == 4
    assert len(list((tmp_path / "items" / "distok").glob("*.safetensors"))) == 2


def test_methods_that_search_by_features_are_drawn_again_with_another_projection(world, tmp_path, monkeypatch):
    contest = Contest(world.open(tmp_path), tmp_path)
    keys = []
    monkeypatch.setattr(Contest, "_kept", lambda self, name, case, seeds, parts, make: keys.append(parts))
    for projection in (contest.bench.backend._projection, None):
        contest.bench.backend._projection = projection
        for name in ("cretok", "concept-lab", "dominant", "bass"):
            contest.item(contest.method(name), contest.bench.cases[0], [0])
    before, after = keys[:4], keys[4:]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True, True]


def test_who_does_not_take_part_is_named_in_cost_and_sensitivity_too(world, tmp_path, short):
    for suite in ("cost", "sensitivity"):
        cases = 2 if suite == "sensitivity" else None
        job = evaluation.Job(tmp_path, world, seeds=1, cases=cases, methods=("dominant", "prior-interpolation"))
        last = evaluation.run(suite, job)[suite][-1]
        assert last.title == "Could not take part"
        assert all(row[0].startswith("prior interpolation") for row in last.rows)
        assert "does not run on a StableDiffusionPipeline" in last.rows[0][1]


def test_cases_that_training_could_mix_are_counted(world, tmp_path, monkeypatch):
    from distok.evaluation import origin

    bench = world.open(tmp_path)
    assert bench.met(bench.spread(4)) == 4
    pair = [list(bench.cases[0].asked.names)]
    settings = run_settings(steps=2, held_out=pair)
    bench.model.provenance["settings"] = settings.to_json()
    assert bench.met(bench.cases[:1]) == 0
    tables = evaluation.run("fidelity", evaluation.Job(tmp_path, world, seeds=1, cases=2, methods=("dominant",)))["fidelity"]
    assert "Of the 2 mixes, this DisTok could meet 2 in training." in tables[0].note
    held = replace(world, model=tmp_path / "distok.safetensors")
    monkeypatch.setattr(origin, "commit", lambda: "abc")  # so that a report of the same is taken over
    for revision, said in (("1", ", but in what concepts found on the way showed."), ("2", ".")):
        bench.model.save(held.model, bench.model.provenance | {"revision": revision})
        job = evaluation.Job(tmp_path / "held", held, seeds=1, cases=2, methods=("dominant",))
        tables = evaluation.run("fidelity", job)["fidelity"]
        assert f"Of the 2 mixes, this DisTok could meet 1 in training{said}" in tables[0].note


def test_a_report_that_could_not_be_written_is_refused_before_anything_is_measured(world, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.Setup, "open", lambda *_: pytest.fail("it was opened first"))
    (tmp_path / "notes.txt").write_text("mine")
    for suite in ("cost", "world", "all"):
        with pytest.raises(DistokError, match=r"cannot write to .*notes.txt \(.* is a file\); choose another folder"):
            evaluation.run(suite, evaluation.Job(tmp_path / "notes.txt"))


def test_code_of_no_commit_is_told_apart_by_its_files(tmp_path, monkeypatch):
    from distok.evaluation import origin

    package = tmp_path / "distok"
    (package / "evaluation").mkdir(parents=True)
    (package / "errors.py").write_text("1")
    monkeypatch.setattr(origin, "__file__", str(package / "evaluation" / "origin.py"))
    monkeypatch.setattr(origin, "commit", lambda: "")
    first, again = (origin.Origin.of("cost", {}).fingerprint for _ in range(2))
    (package / "errors.py").write_text("2")
    assert first == again != origin.Origin.of("cost", {}).fingerprint


def test_what_another_process_made_in_the_meantime_is_kept(world, tmp_path):
    contest = Contest(world.open(tmp_path), tmp_path)
    method, (case, *_) = contest.method("dominant"), contest.bench.cases
    other, made = Contest(world.open(tmp_path), tmp_path), method.make

    def slowly(*given, **more):
        method.make = made
        other.item(other.method("dominant"), case, case.seeds(3)[1:])
        return made(*given, **more)

    method.make = slowly
    contest.item(method, case, case.seeds(1))
    method.make = lambda *given, **more: pytest.fail("all three are here")
    assert contest.item(method, case, case.seeds(3)).seeds == tuple(case.seeds(3))


def test_another_model_in_the_same_place_is_measured_again(world, tmp_path, monkeypatch):
    from distok.evaluation import origin

    monkeypatch.setattr(origin, "commit", lambda: "abc")
    path = tmp_path / "distok.safetensors"
    model = DisTok.load(world.model)
    model.save(path, model.provenance)
    job = evaluation.Job(tmp_path / "out", replace(world, model=path), seeds=1, cases=2, methods=("dominant",))
    evaluation.run("fidelity", job)
    first = json.loads((tmp_path / "out" / "fidelity.json").read_text())
    model.decoder[2].bias.data.add_(1)
    model.save(path, model.provenance)
    evaluation.run("fidelity", job)
    second = json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert second["labeler"] != first["labeler"], "the tables of a model that is gone"


def test_a_bank_that_is_not_there_is_said_before_anything_is_opened(tmp_path):
    with pytest.raises(DistokError, match=r"there is no bank of readings at .*gone; make one with 'distok train --collect N'"):
        evaluation.Job(tmp_path, bank=tmp_path / "gone")
    with pytest.raises(DistokError, match="there is no recipe 'theirs'; choose ours or published, or leave it out for both"):
        evaluation.Job(tmp_path, recipe="theirs")
    with pytest.raises(DistokError, match="an ablation cannot leave out 'mix'; choose read or reg, or neither for both"):
        evaluation.Job(tmp_path, without="mix")
    for given, told in (((), "none"), ((3,), "3"), ((3, 3), "3, 3"), ((-1, 2), "-1, 2")):
        with pytest.raises(DistokError, match=f"the training seeds are {told}; an interval needs at least 2 different whole num"):
            evaluation.Job(tmp_path, training_seeds=given)
    with pytest.raises(DistokError, match="readings is 0; take at least 1 of each model's own tokens"):
        evaluation.Job(tmp_path, readings=0)


def test_a_setup_reaches_distok_create_as_flags():
    flags = jobs.Setup("here", guidance_scale=7.5, evaluator="judge.safetensors", denoising_steps=9).flags()
    assert dict(zip(flags[::2], flags[1::2], strict=True)) == {
        "--backend": "here", "--device": "cpu", "--dtype": "auto", "--offload": "auto", "--guidance-scale": "7.5",
        "--steps": "9",
    }  # fmt: skip


def test_a_sweep_gives_the_first_class_the_weight():
    from distok.evaluation.sweep import _point

    asked = [_point(0, "pig", "owl", weight).asked.as_dict() for weight in (0.0, 0.25, 1.0)]
    assert asked == [{"owl": 1.0}, Distribution(("pig", "owl"), (0.25, 0.75)).as_dict(), {"pig": 1.0}]
