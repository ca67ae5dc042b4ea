"""Intervals, distances and diversity on cases whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distok.errors import DistokError
from distok.evaluation.statistics import bootstrap, jackknife, of_hits, student
from distok.scorers.sets import frechet, mean_distance, vendi


def gaussian(n, mean, scale, seed=0):
    """Samples whose mean and covariance are exactly ``mean`` and diag(scale²)."""
    x = np.random.default_rng(seed).standard_normal((n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / (n - 1))).T
    return x * np.array(scale) + np.array(mean)


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    interval = bootstrap(values)
    half = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_a_share_of_all_is_not_certain():
    """24 of 24: Wilson's lower end is n / (n + z²), and no picture is promised."""
    every = of_hits([True] * 24)
    assert (every.mean, every.high) == (1, 1)
    assert every.low == pytest.approx(24 / (24 + 1.959964**2))
    some = of_hits(np.arange(100) < 30)
    assert (some.mean, some.low, some.high) == (
        pytest.approx(0.3),
        pytest.approx(0.2189, abs=1e-4),
        pytest.approx(0.3958, abs=1e-4),
    )


def test_intervals_cover_the_true_mean_as_often_as_they_claim():
    random = np.random.default_rng(2)
    found = [bootstrap(random.exponential(1.0, 60), seed, 500) for seed in range(200)]
    covered = np.mean([each.low <= 1.0 <= each.high for each in found])
    assert 0.88 <= covered <= 0.98


@pytest.mark.parametrize("count", range(2, 13))
def test_few_values_get_an_interval_that_holds_the_mean_as_often_as_it_claims(count):
    random = np.random.default_rng(5)
    found = [bootstrap(random.normal(1.0, 1.0, count), seed, 400) for seed in range(400)]
    assert np.mean([each.low <= 1.0 <= each.high for each in found]) >= 0.88, "a percentile bootstrap of three: 0.75"


def test_few_values_have_students_interval():
    stats = pytest.importorskip("scipy.stats")
    for count in range(2, 11):
        values = np.random.default_rng(count).normal(size=count)
        low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
        found = bootstrap(values)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    assert (bootstrap([2.0]).low, bootstrap([2.0]).high) == (-np.inf, np.inf)


def test_pairing_finds_a_small_difference_that_cases_hide():
    cases = np.random.default_rng(3).normal(0, 1, 60)
    noise = np.random.default_rng(4).normal(0, 0.02, 60)
    better, worse = cases, cases + 0.05 + noise
    paired = bootstrap(better - worse)
    assert paired.high < 0
    assert bootstrap(better).high > bootstrap(worse).low  # unpaired, the intervals overlap


def test_a_bootstrap_is_the_same_each_time_and_refuses_what_is_no_number():
    assert bootstrap([0.1, 0.5, 0.2]) == bootstrap([0.1, 0.5, 0.2])
    assert bootstrap([2.0, 2.0]).low == bootstrap([2.0, 2.0]).high == 2.0
    for wrong in ([], [1.0, float("nan")]):
        with pytest.raises(DistokError, match="finite numbers, one a case"):
            bootstrap(wrong)


@pytest.mark.parametrize("count", [12, 300])  # fewer samples than half the features, and many more
def test_the_frechet_distance_of_gaussians_is_the_closed_form(count):
    width = 5
    first, second = np.array([1.0, 2.0, 0.5, 1.0, 3.0]), np.array([2.0, 1.0, 0.5, 0.1, 1.0])
    shift = np.arange(width) * 0.3
    a, b = gaussian(count, np.zeros(width), first), gaussian(count, shift, second, 1)
    assert frechet(a, b) == pytest.approx(shift @ shift + ((first - second) ** 2).sum(), rel=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_agrees_with_the_matrix_root():
    linalg = pytest.importorskip("scipy.linalg")
    random = np.random.default_rng(5)
    a, b = random.standard_normal((80, 6)) @ random.standard_normal((6, 6)), random.standard_normal((50, 6)) + 1
    s, t = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(s @ t).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-6)


def test_a_frechet_distance_needs_samples_of_one_width():
    with pytest.raises(DistokError, match="at least 2 samples of equal width"):
        frechet(np.zeros((3, 2)), np.zeros((3, 4)))


@given(st.integers(1, 8), st.integers(1, 5))
def test_vendi_counts_kinds(kinds, repeats):
    features = np.repeat(np.eye(8)[:kinds], repeats, axis=0) * 3.0
    assert vendi(features) == pytest.approx(kinds)


def test_vendi_is_the_entropy_of_the_similarities_whichever_side_is_longer():
    linalg = pytest.importorskip("scipy.linalg")
    for shape in ((20, 7), (7, 20)):
        x = np.random.default_rng(6).standard_normal(shape)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        values = linalg.eigvalsh(unit @ unit.T / len(x))
        values = values[values > 1e-12]
        assert vendi(x) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-9)


def test_mean_distance_is_the_mean_over_pairs():
    x = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert mean_distance(x) == pytest.approx((1 + 0 + 1) / 3)
    assert mean_distance(x[:1]) == 0.0


def test_a_jackknifed_mean_has_students_interval():
    for count in range(3, 11):
        values = np.random.default_rng(count).normal(size=count)
        found, wanted = jackknife(lambda kept, x=values: float(x[kept].mean()), count), bootstrap(values)
        assert (found.mean, found.low, found.high) == pytest.approx((wanted.mean, wanted.low, wanted.high))


def test_a_jackknife_covers_what_is_no_mean():
    random = np.random.default_rng(3)
    found = []
    for _ in range(200):
        x = random.normal(0, 2, 40)
        found.append(jackknife(lambda kept, x=x: float(x[kept].var(ddof=1)), len(x)))
    assert 0.88 <= np.mean([each.low <= 4 <= each.high for each in found]) <= 0.99


def test_one_or_two_groups_promise_nothing():
    for count in (1, 2):
        found = jackknife(lambda kept: float(len(kept)), count)
        assert (found.mean, found.low, found.high) == (count, -np.inf, np.inf)
    found = jackknife(lambda kept: 0.0 if len(kept) < 3 else 0.1, 3, low=0, high=1)
    assert (found.mean, found.low, found.high) == (0.1, 0.1, 0.1), "each without one is alike"
    found = jackknife(lambda kept: float(sum(kept)) / 10, 3, low=0, high=0.4)
    assert (found.mean, found.low, found.high) == (pytest.approx(0.3), 0, 0.4), "no share is below nothing"
    with pytest.raises(DistokError, match="at least one group"):
        jackknife(lambda kept: 0.0, 0)


def test_students_quantile_beyond_the_table():
    stats = pytest.importorskip("scipy.stats")
    assert [student(n) for n in range(1, 200)] == pytest.approx([stats.t.ppf(0.975, n) for n in range(1, 200)], abs=0.003)
