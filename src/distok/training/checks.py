"""What is refused before a training begins.

Shapes: k classes, d token width.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from distok.asking import check_text
from distok.backends import Backend
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers.base import Labeler
from distok.training.estimation import Bank
from distok.training.settings import TrainSettings

APART = 1e-5  # of a token's length: nearer, two differ by rounding


def check(settings: TrainSettings, backend: Backend, labeler: Labeler | None, names: tuple[str, ...], bank: Bank | None) -> None:
    """Refuse names that no mix can say, and a training without something that it needs.

    Raises:
        DistokError: see :class:`~distok.training.Trainer`.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise DistokError(f"{len(names)} class names ({len(set(names))} different); give at least 2, each once")
    Distribution(names, (1.0,) * len(names))
    for name in names:
        check_text(name, "the class name")
    if settings.estimate_count and labeler is None:
        raise DistokError("estimation renders pictures but there is no labeler to read them; give one, or set estimate_count=0")
    if bank is None and settings.delta and not settings.estimate_count:
        raise DistokError(
            f"delta is {settings.delta:g}, but foresight has no readings to learn from: estimate_count is 0 and there is "
            "no bank; give one, or set delta=0"
        )
    if bank is not None:
        bank.check(settings, backend, names)


def check_apart(names: tuple[str, ...], tokens: Float[Tensor, "k d"]) -> None:
    """Refuse two names whose pieces have one mean: their mixes would be one, whatever the weights.

    Raises:
        DistokError: such names.
    """
    units = tokens.float() / tokens.float().norm(dim=-1).mean()
    away = torch.cdist(units, units, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(float("inf"))
    if away.min() < APART:
        first, second = divmod(int(away.argmin()), len(names))
        raise DistokError(
            f"the classes '{names[first]}' and '{names[second]}' are one token to this text encoder, so no mix can tell them "
            "apart; leave one out, or name it otherwise"
        )
