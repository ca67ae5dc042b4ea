"""What a job asks for is what each suite is given, as docs/evaluation.md says under "How much"."""

import importlib
import inspect
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from distok import evaluation
from distok.evaluation import suites

importlib.import_module("distok.evaluation.series")  # takes a name over from ablation: not while a stand-in is there

OUT = Path("report")
BENCH = SimpleNamespace(backend="backend", model="model", names=("cat", "dog"), rulers=SimpleNamespace(labeler="labeler"))
ASKED = {"seeds": 16, "cases": 7, "methods": ("dominant",), "preset": "published", "scorers": {"clipscore": None}}
TRAINED = {"steps": 20, "readings": 9, "recipe": "ours", "without": "read", "training_seeds": (8, 3)}

GIVEN = {  # of a job that asks for all of it, and for 16 pictures a case, which is no default
    "fidelity": {"folder": OUT, "seeds": 16, "cases": 7, "preset": "published", "methods": ("dominant",)},
    "methods": {
        "folder": OUT, "seeds": 16, "cases": 7, "preset": "published", "chosen": ("dominant",), "scorers": {"clipscore": None},
        "device": "cpu",
    },
    "cost": {"chosen": ("dominant",), "preset": "published", "compared": 7},
    "exploration": {"count": 192},
    "surprise": {"folder": OUT, "count": 100, "preset": "published"},
    "sweep": {"seeds": 16},
    "reuse": {"seeds": 8},
    "map": {},
    "series": {"folder": OUT / "series", "seeds": 8, "marks": (4, 6, 20)},
    "sensitivity": {"folder": OUT, "seeds": 3, "cases": 7, "preset": "published", "chosen": ("dominant",)},
    "refinement": {"folder": OUT, "seeds": 16, "cases": 7, "preset": "published", "chosen": ("dominant",)},
    "ablation": {"models": "its models", "seeds": 16, "cases": 7, "samples": 200},
    "speed": {"options": ("--device", "cpu", "--dtype", "auto", "--offload", "auto")},
}  # fmt: skip


def watch(monkeypatch, module: str, name: str, answer: object = "its result") -> list[dict]:
    """Put a stand-in where an adapter imports a suite from; what it is called with goes by the names of the real one."""
    home = importlib.import_module(f"distok.evaluation.{module}")
    signature, calls = inspect.signature(getattr(home, name)), []

    def stand_in(*args: object, **options: object) -> object:
        calls.append(dict(signature.bind(*args, **options).arguments))
        return answer

    monkeypatch.setattr(home, name, stand_in)
    return calls


def given(monkeypatch, suite: str, **asked: object) -> dict:
    """What a suite is called with for a job, but for its bench."""
    name = {"map": "latent_map"}.get(suite, suite)
    calls = watch(monkeypatch, name, name)
    assert suites._RUN[suite](BENCH, evaluation.Job(OUT, **asked)) == "its result"
    (call,) = calls
    assert call.pop("bench") is BENCH
    return call


@pytest.mark.parametrize("suite", GIVEN)
def test_a_suite_is_given_what_the_job_asks_for(suite, monkeypatch):
    trained = watch(monkeypatch, "ablation", "run_ablation", "its models")
    monkeypatch.setattr("distok.evaluation.ablation.settings_of", lambda model, names: (model, names))
    assert set(GIVEN) == set(suites._RUN)
    assert given(monkeypatch, suite, **ASKED, **TRAINED) == GIVEN[suite]
    if suite == "ablation":
        assert trained == [{
            "backend": "backend", "labeler": "labeler", "names": BENCH.names, "out": OUT / "ablation", "seeds": (8, 3),
            "steps": 20, "settings": ("model", BENCH.names), "bank": None, "readings": 9, "recipe": "ours", "without": "read",
            "callback": None,
        }]  # fmt: skip


def test_methods_are_given_the_report_beside(monkeypatch, tmp_path, distok_command):
    (tmp_path / "methods.json").write_text("{}")
    assert given(monkeypatch, "methods", beside=tmp_path)["beside"] == tmp_path
    ran = []
    monkeypatch.setattr("distok.evaluation.run", lambda suite, job, command: ran.append(job) or {})
    assert distok_command("evaluate", "methods", "--out", "report", "--beside", tmp_path)[0] == 0
    assert ran[0].beside == tmp_path


def test_an_ablation_is_given_the_bank(monkeypatch):
    trained = watch(monkeypatch, "ablation", "run_ablation")
    monkeypatch.setattr("distok.evaluation.ablation.settings_of", lambda model, names: None)
    monkeypatch.setattr("distok.training.Bank.load", lambda path: f"the readings of {path.name}")
    given(monkeypatch, "ablation", bank=Path(__file__))
    assert trained[0]["bank"] == f"the readings of {Path(__file__).name}"
    assert (trained[0]["readings"], trained[0]["recipe"], trained[0]["without"]) == (None, None, None)
    assert trained[0]["seeds"] == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("suite", "seeds", "told"),
    [
        ("surprise", 3, {"count": 36}),
        ("surprise", 50, {"count": 100}),
        ("exploration", 50, {"count": 600}),
        ("reuse", 1, {"seeds": 1}),
        ("series", 7, {"seeds": 3}),
        ("sensitivity", 4, {"seeds": 1, "cases": 20}),
    ],
)
def test_shares_of_the_seeds_are_rounded_down_and_end_at_one_or_a_hundred(suite, seeds, told, monkeypatch):
    assert told.items() <= given(monkeypatch, suite, seeds=seeds).items()


def test_the_command_line_makes_that_job(distok_command, monkeypatch):
    ran = []
    monkeypatch.setattr("distok.evaluation.run", lambda suite, job, command: ran.append((suite, job, command)) or {})
    words = ["evaluate", "ablation", "--out", "report", "--seeds", 9, "--cases", 7, "--methods", "dominant, bass"]
    words += ["--preset", "published", "--scorer", "clipscore", "--scorer", "vqascore=FOLDER", "--evaluator", "e.safetensors"]
    words += ["--readings", 8, "--recipe", "ours", "--without", "read", "--steps", 20, "--guidance-scale", 4.5]
    words += ["--training-seeds", "5, 7"]
    words += ["--backend", "B", "--model", "M", "--labeler", "L", "--dtype", "float16", "--offload", "low"]
    words += ["--denoising-steps", 6]
    assert distok_command(*words)[0] == 0
    ((suite, job, command),) = ran
    assert (suite, command) == ("ablation", shlex.join(["distok", *map(str, words)]))
    setup = evaluation.Setup("B", "M", "L", Path("e.safetensors"), "cpu", "float16", "low", 4.5, 6)
    asked = {"cases": 7, "readings": 8, "recipe": "ours", "without": "read", "steps": 20, "methods": ("dominant", "bass")}
    asked["training_seeds"] = (5, 7)
    scorers = {"clipscore": None, "vqascore": "FOLDER"}
    assert replace(job, callback=None) == evaluation.Job(OUT, setup, 9, preset="published", scorers=scorers, **asked)
    assert distok_command("evaluate", "ablation", "--out", "report", "--bank", __file__)[0] == 0
    assert replace(ran[1][1], callback=None) == evaluation.Job(OUT, bank=Path(__file__))
