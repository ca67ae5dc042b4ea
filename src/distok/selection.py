"""The closed loop at its simplest: draw several pictures, read them back, keep the one that shows what was asked.

Shapes: c candidates of a picture.
"""

from collections.abc import Sequence

from distok.distribution import Distribution, kl
from distok.errors import DistokError

APART = 1000  # between the seeds of one picture's candidates: as many pictures as one call makes at most
MOST = 64


def candidates(seed: int, count: int) -> list[int]:
    """Seeds of the candidates of the picture with ``seed``, which is the first of them; of ``seed`` and ``count`` alone.

    Raises:
        DistokError: ``count`` is not in 1 … 64.
    """
    if not 1 <= count <= MOST:
        raise DistokError(f"cannot choose the best of {count} pictures; give a number from 1 to {MOST}")
    return [seed + APART * i for i in range(count)]


def closest(asked: Distribution, readings: Sequence[Distribution]) -> int:
    """Place of the reading with the least KL(asked ‖ reading); the first of equals."""
    apart = [kl(asked, reading) for reading in readings]
    return apart.index(min(apart))
