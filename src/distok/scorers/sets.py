"""Numbers of whole sets of pictures, from their features: diversity, duplicates, distance between two sets. NumPy only.

Shapes: n and m pictures, f features.
"""

import numpy as np
from jaxtyping import Float

from distok.errors import DistokError
from distok.scorers.base import Scale

DUPLICATE = 0.95  # cosine from which two pictures count as the same
SCALES = {
    "vendi": Scale(1, np.inf),
    "distance": Scale(0, 2),
    "variance": Scale(0, np.inf),
    "duplicates": Scale(0, 1, higher_is_better=False),
    "frechet": Scale(0, np.inf, higher_is_better=False),
    "kid": Scale(-np.inf, np.inf, higher_is_better=False),
}


def duplicates(features: Float[np.ndarray, "n f"], threshold: float = DUPLICATE) -> float:
    """Share of pictures that have a near-duplicate among the others: a cosine above ``threshold``.

    Raises:
        DistokError: no table of features, or a threshold outside -1 to 1.
    """
    if not -1 <= threshold <= 1:
        raise DistokError(f"the threshold of a duplicate is {threshold}; give a cosine between -1 and 1, such as {DUPLICATE}")
    x = _unit(features)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -np.inf)
    return float((cosines.max(1) > threshold).mean()) if len(x) > 1 else 0.0


def total_variance(features: Float[np.ndarray, "n f"]) -> float:
    """Trace of the sample covariance, 0 for a single picture; a diversity in VLM-guided adaptive negative prompting (2025)."""
    x = _table(features)
    return float(x.var(0, ddof=1).sum()) if len(x) > 1 else 0.0


def kernel_distance(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """Kernel distance, KID: the unbiased MMD² under (x·y / f + 1)³ (Bińkowski et al. 2018, eq. 4), of the whole sets at once.

    Unbiased also for few pictures, so slightly below 0 for two sets of one kind.

    Raises:
        DistokError: fewer than 2 pictures on a side, or features of unequal width.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise DistokError(f"a kernel distance needs two sets of at least 2 pictures of equal width, not {a.shape} and {b.shape}")
    own = sum((kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in (_cubic(a, a), _cubic(b, b)))
    return float(own - 2 * _cubic(a, b).mean())


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
    # Σ₁ = xᵀx stays when x is replaced by the R of its QR decomposition, which has at most f rows.
    r, t = (np.linalg.qr(side, mode="r") for side in (x, y))
    root = np.linalg.svd(r @ t.T, compute_uv=False).sum()  # = tr (Σ₁ Σ₂)^½
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


def _cubic(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> Float[np.ndarray, "n m"]:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _table(features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) == 0:
        raise DistokError(f"a measure of a set needs a table of features, one row a picture, not shape {x.shape}")
    return x


def _unit(features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    x = _table(features)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
