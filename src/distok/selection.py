"""The closed loop: draw, read back, and keep the picture, or the token, that shows what was asked.

Shapes: c candidates of a picture.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distok import seeds
from distok.asking import MAX_SEED
from distok.distribution import Distribution, kl, mean
from distok.errors import DistokError

if TYPE_CHECKING:
    from PIL import Image

LOG = logging.getLogger(__name__)
APART = 1000  # between the seeds of one picture's candidates: as many pictures as one call makes at most
MOST = 64
ROUNDS = 5
PREVIEWS = 8  # drawn in each round, at half of the steps: for the same time twice as many, which chooses better (docs/log.md)
SKETCH = 6  # fewest denoising steps of a preview
# How far a weight follows the ratio of what was asked to what was measured: the first try from a round's weights, the next, …
POWERS = (0.7, 0.35, 1.0, 0.17)
SHRINK = 0.8  # of all powers, once they have all been tried from the same weights
FLOOR = 0.02  # added to both, so that a class that was not seen at all does not take everything
STRIDE = 3.0  # a weight grows or shrinks by at most this in a round


def candidates(seed: int, count: int) -> list[int]:
    """Seeds of the candidates of the picture with ``seed``, which is the first of them; of ``seed`` and ``count`` alone.

    Raises:
        DistokError: ``count`` is not in 1 … 64, or the last seed is above 2^63 - 1.
    """
    if not 1 <= count <= MOST:
        raise DistokError(f"cannot choose the best of {count} pictures; give a number from 1 to {MOST}")
    if seed > MAX_SEED - APART * (count - 1):
        raise DistokError(
            f"the seed {seed} is too large to choose the best of {count}: their seeds are {APART} apart, up to 2^63 - 1; "
            "give a smaller one"
        )
    return [seed + APART * i for i in range(count)]


def closest(asked: Distribution, readings: Sequence[Distribution]) -> int:
    """Place of the reading with the least KL(asked ‖ reading); the first of equals."""
    apart = [kl(asked, reading) for reading in readings]
    return apart.index(min(apart))


def is_black(picture: "Image.Image") -> bool:
    """Whether a picture is black all over, as a checkpoint's safety checker leaves those that it refuses."""
    return not any(high for _, high in picture.convert("RGB").getextrema())


def visible(pictures: "Sequence[Image.Image]") -> list[int]:
    """Places of the pictures that are not black, or all where every one is."""
    lit = [place for place, picture in enumerate(pictures) if not is_black(picture)]
    return lit or list(range(len(pictures)))


def choose(
    asked: Distribution,
    firsts: Sequence[int],
    count: int,
    draw: "Callable[[int, Sequence[int]], Sequence[Image.Image]]",
    read: "Callable[[Sequence[Image.Image]], Sequence[Distribution]]",
) -> "tuple[list[int], list[Image.Image]]":
    """The best of ``count`` candidates of each picture, and its seed.

    Args:
        asked: the mix.
        firsts: a seed for each picture, that of its first candidate.
        draw: draws one candidate a seed, told how many pictures are done.
        read: reads each.

    Raises:
        DistokError: as :func:`candidates`, before anything is drawn.
    """
    chosen, kept = [], []
    for done, numbers in enumerate([candidates(seed, count) for seed in firsts]):
        pictures = draw(done, numbers)
        lit = visible(pictures)
        try:
            place = lit[closest(asked, read([pictures[each] for each in lit]))]
        except DistokError as error:  # no picture is lost to that
            LOG.warning("the %d drawings from seed %d cannot be compared (%s); the first is kept", count, numbers[0], error)
            place = lit[0]
        chosen.append(numbers[place])
        kept.append(pictures[place])
    return chosen, kept


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


def preview_steps(steps: int) -> int:
    """Denoising steps of a picture that is drawn to be read and thrown away, where one that is kept takes ``steps``."""
    return min(steps, max(SKETCH, steps // 2))


def refine(asked: Distribution, look: Look, rounds: int, pictures: int, seed: int = 0) -> Refined:
    """Move the weights that the model is given until the readings show those that were asked.

    Round 0 gives what was asked. Every later one starts from the best round so far and multiplies its weights by
    ((asked + floor) / (measured + floor)) ^ power, at most by ``STRIDE`` either way; the power is another at each try from the
    same round. Every round has seeds of its own, so that no round wins by its noise twice.

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
    tried, seen, apart, tries = [asked], [], [], [0] * rounds
    for number in range(rounds):
        seen.append(mean(look(tried[-1], [seeds.derive(seed, "refine", number, i) for i in range(pictures)])))
        apart.append(kl(asked, seen[-1]))
        best = apart.index(min(apart))
        cycles, place = divmod(tries[best], len(POWERS))
        tries[best] += 1
        tried.append(_corrected(tried[best], asked, seen[best], POWERS[place] * SHRINK**cycles))
    return Refined(tuple(tried[:rounds]), tuple(apart))


def _corrected(given: Distribution, asked: Distribution, measured: Distribution, power: float) -> Distribution:
    want, seen, moved = asked.as_dict(), measured.as_dict(), {}
    for name, weight in given.as_dict().items():
        ratio = ((want[name] + FLOOR) / (seen.get(name, 0.0) + FLOOR)) ** power
        moved[name] = weight * min(max(ratio, 1 / STRIDE), STRIDE)
    return Distribution.from_mapping(moved)
