"""Means with their intervals; NumPy only.

Shapes: c cases.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float

from distok import seeds
from distok.errors import DistokError

RESAMPLES = 4000  # bootstrap draws; the ends of an interval then move by less than 2 % of its width between seeds
LEVEL = 0.95
FEW = 10  # up to so many values a percentile bootstrap is too narrow: of three, its 95 % interval holds the mean 75 times in 100
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # 97.5 % quantiles of t for 1 … 9 degrees of freedom


@dataclass(frozen=True)
class Interval:
    """A mean over cases and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"


def bootstrap(values: Float[np.ndarray, " c"] | Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of ``values`` with its 95 % interval over cases.

    A percentile bootstrap (Efron & Tibshirani 1993, ch. 13); up to :data:`FEW` values Student's t, as mean ± t · s / √c. One
    value alone says nothing of its spread: its interval has no ends. For a paired comparison give the differences, case by case.

    Raises:
        DistokError: no value, or one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise DistokError(f"a bootstrap needs a list of finite numbers, one a case, not {values.size} of shape {values.shape}")
    if values.size <= FEW:
        reach = student(values.size - 1) * values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.inf
        return Interval(float(values.mean()), float(values.mean() - reach), float(values.mean() + reach))
    drawn = seeds.rng(seed, "bootstrap", values.size).integers(values.size, size=(resamples, values.size))
    low, high = np.quantile(values[drawn].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def jackknife(measure: Callable[[list[int]], float], count: int, low: float = -math.inf, high: float = math.inf) -> Interval:
    """A measure of a whole set of ``count`` groups with its 95 % interval over groups; for what is no mean of them.

    Each group is left out in turn (Efron & Tibshirani 1993, formula 11.5): drawing groups again, as a bootstrap does, would put
    twins into the set, which diversity and duplicates would take for a finding. Of one or two groups the interval is the whole
    range.

    Args:
        measure: of the groups of these numbers.
        count: how many groups there are.
        low, high: the ends of the measure's range, where the interval ends too.

    Raises:
        DistokError: no group, or what ``measure`` raises.
    """
    if count < 1:
        raise DistokError("a measure of a set needs at least one group")
    everything = list(range(count))
    whole = measure(everything)
    if count < 3:
        return Interval(whole, low, high)
    without = np.array([measure(everything[:i] + everything[i + 1 :]) for i in everything])
    reach = student(count - 1) * float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    return Interval(whole, max(whole - reach, low), min(whole + reach, high))


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; above 9 degrees of freedom by its expansion, within 0.003 (Fisher & Cornish 1960)."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def of_hits(hits: Bool[np.ndarray, " c"] | Sequence[bool]) -> Interval:
    """The share of hits with its 95 % interval by Wilson: where all or none hit, a bootstrap would have none."""
    found = np.asarray(hits, dtype=bool)
    low, high = wilson(int(found.sum()), found.size, LEVEL)
    return Interval(float(found.mean()), low, high)


def wilson(successes: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927; formula 3 of Newcombe 1998); (0, 1) without trials.

    Raises:
        DistokError: more successes than trials, or less than none.
    """
    if not 0 <= successes <= trials:
        raise DistokError(f"{successes} of {trials} is no share; give from 0 to all of the trials")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, square = successes / trials, z * z / trials
    middle, half = p + square / 2, z * math.sqrt(p * (1 - p) / trials + square / (4 * trials))
    low = (middle - half) / (1 + square) if successes else 0.0  # exactly, where rounding would leave a trace
    return low, (middle + half) / (1 + square) if successes < trials else 1.0
