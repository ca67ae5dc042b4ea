"""Surprises beside ConceptLab's: counted equally, judged by hand, compared by the number of concepts."""

import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from distok.baselines.concept_lab import ConceptLab
from distok.errors import DistokError
from distok.evaluation import surprise as suite
from distok.evaluation.cases import DISTOK
from distok.evaluation.exploration import judge
from distok.evaluation.surprise import surprise
from distok.scorers.sets import vendi

pytest_plugins = ("tests.evaluation_parts",)


def test_surprises_are_counted_equally_and_each_search_has_its_own_seed(bench, tmp_path, monkeypatch):
    templates = ("a photo of a {}", "a cute {} in snow", "the red {}")  # the seed of a search decides which, step by step
    few = {"steps_of_training": 3, "query_every": 3, "learning_rate": 0.5, "templates": templates}
    monkeypatch.setattr(ConceptLab, "MENAGERIE", {**ConceptLab.MENAGERIE, **few})
    found, counted = {}, []
    prepare = ConceptLab.prepare

    def prepared(method, ask):
        ready = prepare(method, ask)
        found[method.settings.seed] = ready.concept.hash
        return ready

    monkeypatch.setattr(ConceptLab, "prepare", prepared)
    monkeypatch.setattr(suite, "COUNTS", (2, 24))
    monkeypatch.setattr(
        suite, "judge", lambda bench, pictures, *few: counted.append(len(pictures)) or judge(bench, pictures, *few)
    )
    result = surprise(bench, tmp_path, count=3)
    assert list(found) == [0, 1, 2]
    assert len(set(found.values())) == 3, "three searches, one concept"
    assert counted == [3] * 8, "as many of each side and of the species, in either noise"
    vendi = {title: row["vendi"].mean for title, row in result.figures["methods"].items()}
    for noise, of in itertools.product(("own noise", "the same noise"), ("latents", "mixes")):
        ours = f"{DISTOK}, random {of}, {noise}"
        ratio, found = vendi[ours] / vendi[f"ConceptLab, {noise}"], result.figures["ratios"][ours]
        assert list(found) == ["2", "3"]
        assert found["3"].mean == pytest.approx(ratio)
        assert found["3"].low < ratio < found["3"].high
        assert found["2"].mean < 2, "of two concepts each"
    assert "ended at one concept" not in result.tables[0].note
    assert [row[0] for row in result.tables[1].rows] == list(result.figures["ratios"])
    assert set(result.images) == {"surprise.png", "surprise-growth.png"}
    assert len(set(vendi.values())) == 8, "the noise is part of a picture, and so is what is drawn"
    assert len(list((tmp_path / "items" / "concept-lab").glob("*.safetensors"))) == 3
    shutil.rmtree(tmp_path / "items" / "concept-lab" / "pictures")
    with pytest.raises(DistokError, match="pictures of concept-lab are gone from"):
        surprise(bench, tmp_path, count=3)


def test_searches_that_end_at_one_concept_are_said_to(bench, tmp_path, monkeypatch):
    still = {"steps_of_training": 1, "learning_rate": 1e-9, "templates": ("a photo of a {}",)}
    monkeypatch.setattr(ConceptLab, "MENAGERIE", {**ConceptLab.MENAGERIE, **still})
    result = surprise(bench, tmp_path, count=2)
    assert result.figures["methods"]["ConceptLab, the same noise"]["vendi"].mean == pytest.approx(1, abs=1e-3)
    assert "The 2 searches of ConceptLab ended at one concept" in result.tables[0].note
    one, many = (result.figures["methods"][f"ConceptLab, {noise}"]["creature"] for noise in ("the same noise", "own noise"))
    assert one.high - one.low > many.high - many.low, "one picture, however often, is one creature"


def test_a_set_is_judged_by_its_readings(bench, monkeypatch):
    mix, creature = np.array([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]), np.array([0.9, 0.1, 0.8, 0.7])
    looks = SimpleNamespace(mix=mix, creature=creature, features=np.eye(4))
    monkeypatch.setattr(type(bench.rulers), "look", lambda *_: looks)
    found = judge(bench, [])
    assert (found["creature"].mean, found["novel"].mean, found["both"].mean) == (0.75, 0.75, 0.5)
    assert (found["vendi"].mean, found["distance"].mean) == (pytest.approx(4), pytest.approx(1))
    assert judge(bench, [], 1)["novel"].mean == 0


def test_more_surprises_than_classes_are_compared_with_each_class_once():
    random = np.random.default_rng(0)
    sets = {"ours": random.normal(size=(60, 9)), "ConceptLab": 1 + 0.1 * random.normal(size=(60, 9))}
    sets["single species"] = random.normal(size=(30, 9))
    table, ratios = suite._growth({"own noise": sets}, "ConceptLab", 60)
    assert table.columns == ("method", "first 24 ↑", "first 50 ↑", "first 60 ↑")
    assert list(ratios) == ["ours, own noise", "single species, own noise"]
    for n, found in ratios["ours, own noise"].items():
        assert found.mean == pytest.approx(vendi(sets["ours"][: int(n)]) / vendi(sets["ConceptLab"][: int(n)]))
    assert table.rows[1][2:] == ("–", "–")
