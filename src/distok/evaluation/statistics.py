"""Means with their intervals; NumPy only.

Shapes: c cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distok import seeds
from distok.errors import DistokError

RESAMPLES = 4000  # bootstrap draws; the ends of an interval then move by less than 2 % of its width between seeds
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over cases and its percentile bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(values: Float[np.ndarray, " c"] | Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of ``values`` with its 95 % percentile bootstrap interval over cases (Efron & Tibshirani 1993, ch. 13).

    For a paired comparison give the differences, case by case.

    Raises:
        DistokError: no value, or one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise DistokError(f"a bootstrap needs a list of finite numbers, one a case, not {values.size} of shape {values.shape}")
    drawn = seeds.rng(seed, "bootstrap", values.size).integers(values.size, size=(resamples, values.size))
    low, high = np.quantile(values[drawn].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))
