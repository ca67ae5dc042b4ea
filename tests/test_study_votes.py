"""Wilson, the sign test and Bradley–Terry, against published values and their own equations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distok.errors import DistokError
from distok.evaluation.statistics import wilson
from distok.judge import preference
from distok.judge.preference import Vote, bradley_terry, sign_test


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_in_newcombe_1998_table_1(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_ends_solve_the_score_equation(wins, losses):
    n = wins + losses
    low, high = wilson(wins, n)
    if n == 0:
        assert (low, high) == (0, 1)
        return
    assert 0 <= low <= wins / n <= high <= 1
    for end in (low, high):
        assert (wins / n - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, abs=1e-6)
    assert wilson(losses, n) == pytest.approx((1 - high, 1 - low))


def test_wilson_refuses_what_is_no_share():
    with pytest.raises(DistokError, match="3 of 2 is no share"):
        wilson(3, 2)


def test_sign_test_by_hand():
    assert sign_test(8, 2) == sign_test(2, 8) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert (sign_test(5, 5), sign_test(0, 0), sign_test(0, 5)) == (1, 1, 2 / 32)


BASEBALL = [  # American League 1987: Milwaukee, Detroit, Toronto, New York, Boston, Cleveland, Baltimore; wins of row over column
    [0, 7, 9, 7, 7, 9, 11], [6, 0, 7, 5, 11, 9, 9], [4, 6, 0, 7, 7, 8, 12], [6, 8, 6, 0, 6, 7, 10], [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6], [2, 4, 1, 3, 1, 7, 0],
]  # fmt: skip


def test_bradley_terry_as_in_agresti():
    """Categorical Data Analysis, section on the Bradley-Terry model: baseball without home advantage, Baltimore as 0."""
    logs = bradley_terry(np.array(BASEBALL))
    assert logs - logs[-1] == pytest.approx([1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0], abs=0.005)
    assert logs.mean() == pytest.approx(0)
    both = bradley_terry(np.array([BASEBALL, np.array(BASEBALL).T]))
    assert both == pytest.approx(np.stack([logs, -logs]))


@given(st.integers(1, 500), st.integers(1, 500))
def test_bradley_terry_of_two_is_the_log_of_the_odds(wins, losses):
    first, second = bradley_terry(np.array([[0, wins], [losses, 0]]))
    assert first - second == pytest.approx(np.log(wins / losses), abs=1e-8)


@given(st.lists(st.integers(0, 9), min_size=16, max_size=16))
def test_bradley_terry_balances_wins_with_expected_wins(counts):
    """At the maximum of the likelihood every method has won as often as its strength says (Hunter 2004, eq. 2)."""
    wins = np.array(counts, float).reshape(4, 4) * (1 - np.eye(4))
    logs = bradley_terry(wins, prior=1.0)
    smoothed = wins + 0.5 * (1 - np.eye(4))
    chance = 1 / (1 + np.exp(logs[None] - logs[:, None]))
    expected = ((smoothed + smoothed.T) * chance * (1 - np.eye(4))).sum(1)
    assert smoothed.sum(1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "wins", [[[0, 5], [0, 0]], [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [[0, 2, 2], [1, 0, 2], [0, 0, 0]]]
)
def test_bradley_terry_without_a_finite_answer_says_so(wins):
    with pytest.raises(DistokError, match="no finite strength fits; give a prior above 0"):
        bradley_terry(np.array(wins))
    assert np.isfinite(bradley_terry(np.array(wins), prior=1.0)).all()


def test_strengths_resample_clusters():
    """One participant's hundred votes are one opinion: the interval is as wide as the participants disagree."""
    split = [Vote("a", "b", 1 if c % 2 else -1, str(c)) for c in range(20) for _ in range(100)]
    (wide, _) = preference.strengths(split, ["a", "b"])
    united = [Vote("a", "b", 1 if i % 2 else -1, str(i)) for i in range(2000)]
    (narrow, _) = preference.strengths(united, ["a", "b"])
    assert wide["strength"] == pytest.approx(0) == narrow["strength"]
    assert wide["high"] - wide["low"] > 5 * (narrow["high"] - narrow["low"])
    assert preference.strengths(split, ["a", "b"]) == preference.strengths(split, ["a", "b"])


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_strengths_of_few_clusters_hold_the_truth_about_as_often_as_they_say(clusters):
    """Percentiles of two participants hold it half of the time: the interval ends at what the two themselves say."""
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        leanings = 1 / (1 + np.exp(-random.normal(0, 0.8, clusters)))  # each with a leaning of its own, none on average
        votes = [
            Vote("a", "b", 1 if random.random() < lean else -1, str(c)) for c, lean in enumerate(leanings) for _ in range(30)
        ]
        (a,) = [row for row in preference.strengths(votes, ["a", "b"], resamples=200) if row["method"] == "a"]
        held += a["low"] <= 0 <= a["high"]
    assert held >= 180


def test_one_participant_says_nothing_of_the_others():
    for row in preference.strengths([Vote("a", "b", 1, "only")] * 20, ["a", "b"]):
        assert (row["low"], row["high"]) == (-np.inf, np.inf)


def test_pairs_do_not_depend_on_who_is_named_first():
    votes = [Vote("a", "b", 1, "1"), Vote("b", "a", 1, "1"), Vote("b", "a", -1, "2"), Vote("a", "b", 0, "2")]
    (entry,) = preference.pairs(votes, ["a", "b", "c"])
    assert (entry["wins"], entry["losses"], entry["ties"]) == (2, 1, 1)
    assert preference.table_of(votes, ["a", "b"]).tolist() == [[0, 2.5], [1.5, 0]]
