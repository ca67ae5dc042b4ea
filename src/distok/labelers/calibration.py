"""Calibrate a labeler: the temperature at which its readings are most likely to be the truth.

Shapes: b pictures, k names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from distok.errors import DistokError
from distok.labelers.base import Labeler, check_request
from distok.labelers.ensemble import EnsembleLabeler, log_tempered

if TYPE_CHECKING:
    from PIL import Image

    from distok.distribution import Distribution

RANGE = (0.01, 100.0)  # factors on the temperature that are searched
GOLDEN = (math.sqrt(5) - 1) / 2


def calibrate(
    labeler: Labeler, pictures: "Sequence[Image.Image]", truth: "Sequence[Distribution]", names: Sequence[str] | None = None
) -> Labeler:
    """The same labeler at the temperature that fits labelled pictures best (temperature scaling, Guo et al. 2017, §4.2).

    In an ensemble every member is calibrated by itself first, then the mean of them. Readings keep their order of names:
    only their sharpness changes.

    Args:
        pictures: labelled pictures, unlike those that the readings are wanted for.
        truth: what each picture shows.
        names: the names to choose among; every name in ``truth`` if None.

    Raises:
        DistokError: nothing to calibrate on, as many truths as pictures missing, or no temperature within 0.01 to 100 is best.
    """
    chosen = list(names or dict.fromkeys(name for one in truth for name in one.names))
    check_request(pictures, chosen)
    if len(pictures) != len(truth):
        raise DistokError(f"{len(pictures)} pictures and {len(truth)} truths to calibrate on; give one truth a picture")
    wanted = torch.tensor([list(one.over(chosen)) for one in truth], dtype=torch.float64)
    if isinstance(labeler, EnsembleLabeler):
        readings = [member.labeler.probabilities(pictures, chosen) for member in labeler.members]
        members = [
            replace(member, temperature=fit_temperature(reading, wanted, f"the readings of {member.labeler.source}"))
            for member, reading in zip(labeler.members, readings, strict=True)
        ]
        fresh = EnsembleLabeler(members, replace(labeler.settings, temperature=1.0))
        return fresh.tempered(fit_temperature(fresh.combined(readings), wanted))
    return labeler.tempered(fit_temperature(labeler.probabilities(pictures, chosen), wanted))


def fit_temperature(readings: Float[Tensor, "b k"], truth: Float[Tensor, "b k"], what: str = "the readings") -> float:
    """The factor t for which p^(1 / t), normalised, has the least :func:`cross_entropy` with the truth.

    That is convex in 1 / t, so a golden-section search over log t finds it. ``what`` names the readings in a message.

    Raises:
        DistokError: the least lies at the edge of 0.01 to 100.
    """
    low, high = (math.log(edge) for edge in RANGE)
    best = _golden(lambda log_t: cross_entropy(readings, truth, math.exp(log_t)), low, high)
    if min(best - low, high - best) < 1e-3:
        raise DistokError(
            f"no temperature between {RANGE[0]} and {RANGE[1]} fits {what} best (they are all right, or tell nothing); "
            "calibrate on more pictures, hard ones among them"
        )
    return math.exp(best)


def cross_entropy(readings: Float[Tensor, "b k"], truth: Float[Tensor, "b k"], temperature: float = 1.0) -> float:
    """-Σ_k truth log p^(1 / temperature), normalised, averaged over pictures; nats."""
    log_p = log_tempered(readings.cpu(), temperature).double()
    return float(-(truth * log_p).sum(-1).mean())


def _golden(f: Callable[[float], float], low: float, high: float) -> float:
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    f_left, f_right = f(left), f(right)
    while high - low > 1e-5:
        if f_left <= f_right:  # on a plateau, as where a cross-entropy has come down to 0, towards its left edge
            high, right, f_right = right, left, f_left
            left = high - GOLDEN * (high - low)
            f_left = f(left)
        else:
            low, left, f_left = left, right, f_right
            right = low + GOLDEN * (high - low)
            f_right = f(right)
    return (low + high) / 2
