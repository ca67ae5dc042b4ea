"""The closed loop: draw, read back, and keep the picture, or the token, that shows what was asked.

Shapes: c candidates of a picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distok import seeds
from distok.distribution import Distribution, kl, mean
from distok.errors import DistokError

APART = 1000  # between the seeds of one picture's candidates: as many pictures as one call makes at most
MOST = 64
POWER = 0.7  # how far a weight follows the ratio of what was asked to what was measured: all of it overshoots
FLOOR = 0.02  # added to both, so that a class that was not seen at all does not take everything
STRIDE = 3.0  # a weight grows or shrinks by at most this in a round


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


@dataclass(frozen=True)
class Refined:
    """What a refinement found.

    Attributes:
        tried: the weights that each round gave to the model.
        kl: KL(asked ‖ mean reading) of each round, in nats.
    """

    tried: tuple[Distribution, ...]
    kl: tuple[float, ...]

    @property
    def given(self) -> Distribution:
        """The weights to give to the model so that it shows what was asked: those of the best round."""
        return self.after(len(self.kl))

    def after(self, rounds: int) -> Distribution:
        """The same, had the search ended after so many rounds: a shorter search is the beginning of a longer one."""
        return self.tried[self.kl.index(min(self.kl[:rounds]))]


Look = Callable[[Distribution, Sequence[int]], Sequence[Distribution]]


def refine(asked: Distribution, look: Look, rounds: int, pictures: int, seed: int = 0) -> Refined:
    """Move the weights that the model is given until the readings show those that were asked; keep the best round's.

    Round 0 gives what was asked. Every later one multiplies each weight by ((asked + floor) / (measured + floor)) ^ power, at
    most by ``STRIDE`` either way. Every round has seeds of its own, so that no round wins by its noise twice.

    Args:
        asked: the mix.
        look: draws one picture a seed of the mix it is given, and reads each.
        rounds: 1 … 64 mixes that are tried.
        pictures: 1 … 64 drawn of each.
        seed: every picture's seed derives from it.

    Raises:
        DistokError: a number out of range.
    """
    for name, value in (("rounds", rounds), ("pictures a round", pictures)):
        if not 1 <= value <= MOST:
            raise DistokError(f"cannot refine by {value} {name}; give a number from 1 to {MOST}")
    given, tried, apart = asked, [], []
    for number in range(rounds):
        measured = mean(look(given, [seeds.derive(seed, "refine", number, i) for i in range(pictures)]))
        tried.append(given)
        apart.append(kl(asked, measured))
        seen = measured.as_dict()
        moved = {}
        for name, weight in given.as_dict().items():
            ratio = ((asked.as_dict()[name] + FLOOR) / (seen.get(name, 0.0) + FLOOR)) ** POWER
            moved[name] = weight * min(max(ratio, 1 / STRIDE), STRIDE)
        given = Distribution.from_mapping(moved)
    return Refined(tuple(tried), tuple(apart))
