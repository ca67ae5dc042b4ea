"""What a concept costs: turns, the round that is not counted, ratios."""

from dataclasses import replace

import numpy as np
import pytest

from distok.baselines.base import Baseline, Outcome
from distok.evaluation.cases import DISTOK
from distok.evaluation.cost import cost
from distok.evaluation.statistics import Interval, bootstrap

pytest_plugins = ("tests.evaluation_parts",)


def test_cost_takes_turns_and_leaves_the_first_round_out(bench, monkeypatch):
    spent = {  # once, on the concept, on its picture: a round each
        "distok": iter([(7, 100, 100), (0, 1, 0.5), (0, 6, 0.5), (0, 2, 0.5)]),
        "dominant": iter([(0, 50, 50), (0, 0, 30), (0, 0, 5), (0, 0, 10)]),
    }
    make, asked = Baseline.make, []

    def made(method, backend, labeler, mix, seeds, **options):
        asked.append((method.name, mix, list(seeds)))
        if method.name in spent:
            return Outcome([], tuple(seeds), None, *next(spent[method.name]), {})
        return make(method, backend, labeler, mix, seeds, **options)

    monkeypatch.setattr(Baseline, "make", made)
    result = cost(bench, ("dominant", "prior-interpolation"), compared=3)
    first, *others = [(case.asked, case.seeds(1)) for case in bench.cases if case.kind == "pair"][:4]
    turns = [(name, *first) for name in ("distok", "dominant", "prior-interpolation")]
    rounds = (("dominant", "distok"), ("distok", "dominant"), ("distok", "dominant"))  # the second one begins with who is absent
    assert asked == turns + [(name, *case) for case, names in zip(others, rounds, strict=True) for name in names]
    assert result.figures["methods"] == {
        DISTOK: {"once": None, "concept": 2, "seconds": 2.5, "each": [1.5, 6.5, 2.5], "times DisTok": Interval(1, 1, 1)},
        "dominant class alone": {
            "once": 0,
            "concept": 0,
            "seconds": 10,
            "each": [30, 5, 10],
            "times DisTok": result.figures["methods"]["dominant class alone"]["times DisTok"],
        },
    }
    logs = bootstrap(np.log([30 / 1.5, 5 / 6.5, 10 / 2.5]))
    ratio = result.figures["methods"]["dominant class alone"]["times DisTok"]
    assert np.log([ratio.mean, ratio.low, ratio.high]) == pytest.approx([logs.mean, logs.low, logs.high])
    assert result.tables[0].rows[1] == ("dominant class alone", "0.000", "0.000", "10.000", "3.9 [0.1, 226.0]")
    assert "does not run" in result.figures["absent"]["prior interpolation"]


def test_the_only_pair_is_timed_after_a_round_that_is_not_counted(bench, monkeypatch):
    spent = iter([9.0, 9.0, 3.0, 1.0])  # the rival begins the second round
    monkeypatch.setattr(Baseline, "make", lambda *_, **__: Outcome([], (0,), None, 0.0, next(spent), 0.0, {}))
    monkeypatch.setattr(type(bench), "cases", [case for case in bench.cases if case.kind == "pair"][:1])
    result = cost(replace(bench), ("dominant",))
    assert [row["each"] for row in result.figures["methods"].values()] == [[1.0], [3.0]]
    assert "Median of 1 " in result.tables[0].note


def test_cost_times_the_search_for_a_new_member_of_a_kind_too(bench, monkeypatch):
    asked = []

    def made(method, backend, labeler, mix, seeds, **options):
        asked.append((method.name, mix))
        return Outcome([], tuple(seeds), None, 0.0, 1.0, 3.0 if mix == bench.kind else 1.0, {})

    monkeypatch.setattr(Baseline, "make", made)
    result = cost(bench, ("concept-lab",), compared=1)
    assert bench.kind.as_dict() == {"creature": 1.0}
    pairs = [case.asked for case in bench.cases if case.kind == "pair"][:2]
    turns = [[("distok", p), ("concept-lab", p), ("concept-lab", bench.kind)] for p in pairs]
    assert asked == [*turns[0], *turns[1][1:], turns[1][0]], "another one begins each time"
    times = {title: row["times DisTok"].mean for title, row in result.figures["methods"].items()}
    assert times == pytest.approx({DISTOK: 1, "ConceptLab": 1, "ConceptLab, a new creature": 2})
    assert result.tables[0].note.endswith("The search for a new creature is the same in each round.")
