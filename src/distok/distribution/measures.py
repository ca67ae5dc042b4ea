"""How far apart two distributions are.

Shapes: K = number of classes; both arguments are over the same K classes, or are ``Distribution`` objects, which are
compared over the union of their names.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from distok.distribution.simplex import Distribution
from distok.errors import DistokError

FLOOR = 0.01  # a share below this is noise: ranks among such shares say nothing, so Spearman takes them as 0
Weights = Distribution | Float[np.ndarray, " k"] | Sequence[float]


def kl(p: Weights, q: Weights, epsilon: float = 1e-6) -> float:
    """Return KL(p ‖ q) in nats: 0 where p = q, larger the more q misses of p; read it as KL(asked ‖ measured).

    Both sides are smoothed by ``epsilon`` ((p + ε) / (1 + Kε)), so that a class measured as exactly 0 costs much, not infinity.

    Raises:
        DistokError: the vectors differ in length, are empty, are negative or not finite, or sum to zero.
    """
    a, b = (_smooth(side, epsilon) for side in _aligned(p, q))
    return max(0.0, float(np.sum(a * np.log(a / b))))


def js(p: Weights, q: Weights) -> float:
    """Return the Jensen-Shannon divergence in nats: symmetric, in [0, ln 2]; raises as :func:`kl`."""
    a, b = _aligned(p, q)
    middle = (a + b) / 2
    return min(float(np.log(2)), max(0.0, (_relative_entropy(a, middle) + _relative_entropy(b, middle)) / 2))


def spearman(p: Weights, q: Weights) -> float:
    """Return Spearman's rank correlation in [-1, 1]: ties get their mean rank, a constant side gives 0; raises as :func:`kl`."""
    a, b = (_ranks(side) for side in _aligned(p, q))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.clip(np.sum(a * b) / norm, -1.0, 1.0)) if norm > 0 else 0.0


def compare(asked: Float[np.ndarray, " k"], measured: Float[np.ndarray, " k"]) -> dict[str, float]:
    """All of these measures, of one reading against what was asked.

    ``kl`` and ``kl_reverse`` in nats, smoothed as in :func:`kl`; ``js`` in nats, at most ln 2; ``top1``: the largest
    share is (one of) the heaviest asked, and so is each that ties with it; ``topk``: every class asked has a share, larger
    than that of any other class; ``spearman`` over all classes, shares under ``FLOOR`` taken as 0 on both sides, so that a
    perfect reading scores 1, and 0 where a side has no share above.
    """
    wanted, heard = (np.where(side < FLOOR, 0.0, side) for side in (asked, measured))
    heaviest = asked >= asked.max() - 1e-9
    return {
        "kl": kl(asked, measured),
        "kl_reverse": kl(measured, asked),
        "js": js(asked, measured),
        "top1": float(heaviest[measured == measured.max()].all()),
        "topk": float(measured[asked > 0].min() > measured[asked == 0].max(initial=0.0)),
        "spearman": spearman(wanted, heard) if wanted.any() and heard.any() else 0.0,
    }


def mean(distributions: Sequence[Distribution]) -> Distribution:
    """Return the mean of at least one distribution, over the union of their names."""
    names = tuple(dict.fromkeys(name for each in distributions for name in each.names))
    return Distribution.from_vector(names, np.mean([each.over(names) for each in distributions], axis=0))


def _aligned(p: Weights, q: Weights) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    if isinstance(p, Distribution) and isinstance(q, Distribution):
        names = list(dict.fromkeys((*p.names, *q.names)))
        return p.over(names), q.over(names)
    if isinstance(p, Distribution) or isinstance(q, Distribution):
        raise DistokError("cannot compare a Distribution with a bare vector; use Distribution.over(names) for the vector")
    a, b = _vector(p), _vector(q)
    if a.shape != b.shape:
        raise DistokError(f"cannot compare {a.size} weights with {b.size}; give both over the same classes")
    return a, b


def _vector(weights: Float[np.ndarray, " k"] | Sequence[float]) -> Float[np.ndarray, " k"]:
    vector = np.asarray(weights, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise DistokError(f"weights of shape {vector.shape} are not a distribution; give one number for each class")
    if not np.all(np.isfinite(vector)) or np.any(vector < 0) or not np.any(vector > 0):
        raise DistokError("weights must be finite, not negative and not all zero")
    scaled = vector / vector.max()
    return np.asarray(scaled / scaled.sum())


def _smooth(vector: Float[np.ndarray, " k"], epsilon: float) -> Float[np.ndarray, " k"]:
    if not 0 < epsilon < 1:
        raise DistokError(f"epsilon is {epsilon}; it must lie between 0 and 1, like 1e-6")
    return (vector + epsilon) / (1 + vector.size * epsilon)


def _relative_entropy(a: Float[np.ndarray, " k"], b: Float[np.ndarray, " k"]) -> float:
    held = a > 0  # 0 · log 0 = 0; b is positive wherever a is
    return float(np.sum(a[held] * np.log(a[held] / b[held])))


def _ranks(vector: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    _, inverse, counts = np.unique(vector, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)
