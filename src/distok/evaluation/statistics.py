"""Intervals, distances between sets, and diversity; NumPy only.

Shapes: c cases, n and m samples, f features, k classes.
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


def frechet(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6).

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). The trace of the root is the sum of the singular values of Σ₁^½ Σ₂^½, taken from the
    centred samples themselves, so that no root of a nearly singular product is needed. Biased upwards where n is not far
    above f: compare only at equal n.

    Raises:
        DistokError: fewer than 2 samples on a side, or other features.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise DistokError(f"a Fréchet distance needs two sets of at least 2 samples of equal width, not {a.shape} and {b.shape}")
    x, y = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (a, b))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()  # = tr (Σ₁ Σ₂)^½ with Σ₁ = xᵀx, Σ₂ = yᵀy
    shift = a.mean(0) - b.mean(0)
    return float(max(0.0, shift @ shift + (x * x).sum() + (y * y).sum() - 2 * root))


def vendi(features: Float[np.ndarray, "n f"]) -> float:
    """Vendi score: the effective number of different samples, from 1 (all alike) to n (Friedman & Dieng 2023, eq. 2).

    exp(−Σ λ log λ) over the eigenvalues of the cosine similarities divided by n.

    Raises:
        DistokError: no sample.
    """
    x = _unit(features)
    values = np.linalg.eigvalsh((x @ x.T if len(x) <= x.shape[1] else x.T @ x) / len(x))
    values = values[values > 1e-12]
    return float(np.exp(-np.sum(values * np.log(values))))


def mean_distance(features: Float[np.ndarray, "n f"]) -> float:
    """Mean cosine distance over all pairs of different samples, 0 for a single one; raises as :func:`vendi`."""
    x = _unit(features)
    n = len(x)
    return 0.0 if n < 2 else float(1 - (np.sum(x.sum(0) ** 2) - n) / (n * (n - 1)))


def _unit(features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) == 0:
        raise DistokError(f"diversity needs a table of features, one row a picture, not shape {x.shape}")
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
