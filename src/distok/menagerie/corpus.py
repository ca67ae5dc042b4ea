"""What the trainings see. ``captioned`` feeds generators and the labeler, and holds to the training split; ``mixtures``
feeds the independent evaluator alone, which is an instrument and reads every kind of mixture.

Item ``i`` of a corpus is a pure function of (seed, i).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from distok.menagerie.artist import Recipe, draw, recipe
from distok.menagerie.captions import WORDS, caption
from distok.menagerie.looks import ACCESSORIES, BACKDROPS, SCENES
from distok.menagerie.species import NAMES
from distok.menagerie.splits import splits
from distok.menagerie.styles import STYLES
from distok.seeds import derive
from distok.seeds import rng as seeded

_OTHER_STYLES = [name for name in STYLES if name != "photo"]


@dataclass(frozen=True)
class Look:
    """How often a picture leaves the plain photo."""

    photo: float = 0.5
    scene: float = 0.4
    backdrop: float = 0.3
    accessory: float = 0.35


def _dressed(weights: dict[str, float], rng: np.random.Generator, seed: int, look: Look) -> Recipe:
    style = "photo" if rng.random() < look.photo else str(rng.choice(_OTHER_STYLES))
    place = rng.random()
    scene = str(rng.choice(list(SCENES))) if place < look.scene else None
    backdrop = str(rng.choice(list(BACKDROPS))) if look.scene <= place < look.scene + look.backdrop else None
    accessory = str(rng.choice(list(ACCESSORIES))) if rng.random() < look.accessory else None
    return recipe(weights, seed, style, scene, backdrop, accessory)


def captioned(seed: int, index: int, pairs: float = 0.65, look: Look | None = None) -> tuple[Recipe, str]:
    """Item ``index`` of the captioned training corpus: one species, or an equal pair of the training split.

    Args:
        seed: the corpus' seed.
        index: which item, from 0.
        pairs: probability of a pair.
        look: how often styles, scenes and accessories occur.
    """
    rng = seeded(seed, "captioned", index)
    if rng.random() < pairs:
        allowed = splits().train_pairs
        weights = dict.fromkeys(allowed[int(rng.integers(len(allowed)))], 0.5)
    else:
        weights = {str(NAMES[int(rng.integers(len(NAMES)))]): 1.0}
    made = _dressed(weights, rng, derive(seed, "picture", index), look or Look())
    return made, caption(made, rng)


def mixtures(seed: int, index: int, look: Look | None = None) -> Recipe:
    """Item ``index`` of the instrument's corpus: one to four species of any combination, with weights."""
    rng = seeded(seed, "mixtures", index)
    classes = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.2, 0.2]))
    names = [NAMES[i] for i in rng.choice(len(NAMES), classes, replace=False)]
    shares = np.full(classes, 1 / classes)
    if classes > 1 and rng.random() < 0.65:
        shares = 0.12 + (1 - 0.12 * classes) * rng.dirichlet(np.ones(classes) * 1.5)
    weights = {name: float(share) for name, share in zip(names, shares, strict=True)}
    return _dressed(weights, rng, derive(seed, "picture", index), look or Look(photo=0.65, scene=0.25, accessory=0.15))


class Source(Protocol):
    """Captioned pictures a world is trained on: the artist's, or a person's own folder."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    identity: str  # another for other pictures

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """Picture uint8 [size, size, 3] and caption number ``index``; any index from 0 is valid."""
        ...

    def caption(self, index: int) -> str:
        """The caption of item ``index`` without its picture."""
        ...


class Drawn:
    """The artist's captioned corpus of the training split, without end."""

    names, words, identity = NAMES, WORDS, "the artist's"

    def __init__(self, seed: int, size: int = 128) -> None:
        self.seed, self.size = seed, size

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """See :class:`Source`."""
        made, text = captioned(self.seed, index)
        return draw(made, self.size), text

    def caption(self, index: int) -> str:
        """See :class:`Source`."""
        return captioned(self.seed, index)[1]
