"""Measures of readings, and the bars."""

import numpy as np
import pytest
import torch

from distok.backends.prompts import named
from distok.distribution import Distribution, compare
from distok.errors import DistokError
from distok.evaluation.bars import BARS, bar_of, verdict_table, verdicts
from distok.evaluation.readings import METRICS, Looks, Rulers, measure, parents_within

NAMES = ("a", "b", "c", "d")


def vector(*weights):
    return np.array(weights, float)


def test_a_perfect_reading_has_no_error_and_full_rank_correlation():
    asked = vector(0.55, 0.25, 0.2, 0)
    found = compare(asked, asked)
    assert found == {"kl": 0, "kl_reverse": 0, "js": 0, "top1": 1, "topk": 1, "spearman": pytest.approx(1)}


def test_kl_is_the_formula_with_its_epsilon_in_both_directions():
    asked, measured = vector(0.5, 0.5, 0, 0), vector(0.9, 0.1, 0, 0)
    smooth = [(p + 1e-6) / (1 + 4e-6) for p in (asked, measured)]
    found = compare(asked, measured)
    assert found["kl"] == pytest.approx((smooth[0] * np.log(smooth[0] / smooth[1])).sum())
    assert found["kl_reverse"] == pytest.approx((smooth[1] * np.log(smooth[1] / smooth[0])).sum())
    assert found["kl"] != pytest.approx(found["kl_reverse"])


def test_hits_count_classes_and_not_weights():
    pair = vector(0.5, 0.5, 0, 0)
    assert compare(pair, vector(0.2, 0.7, 0.1, 0))["top1"] == 1, "either parent of an equal pair is the heaviest"
    assert compare(vector(0.6, 0.4, 0, 0), vector(0.4, 0.6, 0, 0)) == pytest.approx(
        compare(vector(0.6, 0.4, 0, 0), vector(0.4, 0.6, 0, 0)) | {"top1": 0, "topk": 1}
    )
    assert compare(pair, vector(0.6, 0.1, 0.3, 0))["topk"] == 0


def test_ranks_of_noise_say_nothing():
    asked = vector(0.7, 0.3, 0, 0)
    assert compare(asked, vector(0.69, 0.3, 0.006, 0.004))["spearman"] == pytest.approx(1)
    assert compare(asked, vector(0.1, 0.7, 0.2, 0))["spearman"] < 0.5


def test_a_case_is_read_as_the_mean_of_its_pictures_and_picture_by_picture():
    asked = vector(0.5, 0.5, 0, 0)
    each = np.stack([vector(1, 0, 0, 0), vector(0, 1, 0, 0)])
    found = measure(asked, each)
    assert found["kl"] == pytest.approx(0, abs=1e-9), "two pictures of one parent each are, on average, what was asked"
    assert found["each_kl"] > 5
    assert found["each_js"] == pytest.approx(compare(asked, each[0])["js"])
    assert set(found) == {*METRICS, *(f"each_{key}" for key in METRICS)}


def test_parents_within_the_largest():
    shares = vector(0.4, 0.3, 0.2, 0.1)
    assert parents_within({"a": 0.5, "c": 0.5}, shares, NAMES, 3)
    assert not parents_within({"a": 0.5, "c": 0.5}, shares, NAMES, 2)
    for order in (NAMES, NAMES[::-1]):  # what ties or is not there hits by no order
        assert not parents_within({"a": 0.5, "b": 0.5}, vector(1.0, 0, 0, 0), order, 2)
        assert not parents_within({order[0]: 1.0}, vector(0.25, 0.25, 0.25, 0.25), order, 3)
        assert parents_within({order[0]: 1.0}, vector(0.25, 0.25, 0.25, 0.25), order, 4)


def test_every_bar_of_the_table_judges_its_figure():
    assert [v["passed"] for v in verdicts({"evaluator: KL, pairs, equal": 0.1, "evaluator: KL, pairs, weighted": 0.11})] == [
        True,
        False,
    ]
    assert [v["passed"] for v in verdicts({"checkpoint: style neon": 0.9, "checkpoint: scene beach": 0.89})] == [True, False]
    assert verdicts({"labeler: KL, pairs, equal": 9.0}) == [
        {"figure": "labeler: KL, pairs, equal", "value": 9.0, "bar": None, "passed": None}
    ]
    for bar in BARS:
        key = bar.key.replace("*", "anything")
        assert bar_of(key) is bar
        assert not bar.passed(float("nan")), "a figure that is no number is never a pass"
    table = verdict_table("t", {"checkpoint: style neon": 0.5, "the artist: Fréchet distance to himself": 1.25})
    assert table.rows == (
        ("checkpoint: style neon", "50.0%", "≥ 90.0%", "MISS"),
        ("the artist: Fréchet distance to himself", "1.250", "", ""),
    )


def test_names_get_their_article():
    assert named("pig") == "a photo of a pig"
    assert named("owl", "a watercolor of a {} in the snow") == "a watercolor of an owl in the snow"
    assert named("unicorn") == "a photo of a unicorn"


def test_rulers_refuse_to_measure_with_nothing_and_what_they_cannot_read():
    from distok.menagerie.evaluator import Evaluator, EvaluatorSettings

    with pytest.raises(DistokError, match="give a labeler or an evaluator"):
        Rulers(NAMES)
    small = Evaluator(EvaluatorSettings(side=32, widths=(8, 8), pyramid=8, looks=1, features=8))
    with pytest.raises(DistokError, match="reads the Menagerie's species and not 'a'"):
        Rulers(NAMES, None, small)
    rulers = Rulers(("pig", "owl"), None, small)
    assert rulers.who == ("evaluator",)
    pictures = torch.randint(0, 256, (3, 32, 32, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    looks: Looks = rulers.look(pictures)
    assert looks.mix.shape == (3, 2)
    assert looks.mix.sum(1) == pytest.approx(1)
    assert Distribution.from_vector(rulers.names, looks.mix[0]).names == ("pig", "owl")
    with torch.no_grad():
        next(small.parameters()).fill_(torch.nan)
    with pytest.raises(DistokError, match="the evaluator's readings are no numbers; its file is damaged"):
        rulers.look(pictures)
