"""Exact scores of the Menagerie: which species is the parent of each of the twelve zones, counted against what was asked.

The artist gives every zone to one parent, so faithfulness and novelty are counts. Of a picture whose recipe is known the count is
exact; of any other the independent evaluator names each zone's parent. Shapes: b pictures, z zones, k species.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers.loading import hash_of
from distok.scorers.base import Scale, Scorer, ScorerSettings

if TYPE_CHECKING:
    from PIL import Image

    from distok.menagerie.evaluator import Evaluator


def faithfulness(owners: Sequence[str], weights: Mapping[str, float]) -> float:
    """Share of zones that have a parent asked for, no parent counted oftener than the artist would draw it.

    Σ_c min(n_c, m_c) / z, n_c the zones of c in the picture, m_c its zones by largest remainder of the weights; where remainders
    tie, whichever allotment suits the picture. 1 for each picture of the artist's, 0 for one without any asked parent.

    Raises:
        DistokError: no zone, or weights that are no distribution.
    """
    if not owners:
        raise DistokError("a creature without zones cannot be counted; give the parent of each zone")
    asked = Distribution.from_mapping(weights)
    seen = np.array([sum(owner == name for owner in owners) for name in asked.names])
    quota = np.array(asked.weights) * len(owners)
    wanted = np.floor(quota + 1e-9).astype(int)
    # Rounded, so that equal remainders tie in spite of their last bits.
    order = np.lexsort((wanted - seen, -np.round(quota - wanted, 9)))
    wanted[order[: len(owners) - wanted.sum()]] += 1
    return float(np.minimum(seen, wanted).sum() / len(owners))


def novelty(owners: Sequence[str], known: Iterable[Iterable[str]] = ()) -> float:
    """Share of zones that the nearest known creature cannot explain: 1 − max over known sets of parents of their share of zones.

    Every single species is known; ``known`` adds sets, such as the pairs that a generator was trained on. 0 for a plain species,
    at most 1 − 1/z.

    Raises:
        DistokError: no zone.
    """
    if not owners:
        raise DistokError("a creature without zones cannot be counted; give the parent of each zone")
    count = {name: sum(owner == name for owner in owners) for name in set(owners)}
    best = max(max(count.values()), *(sum(count.get(name, 0) for name in set(each)) for each in known), 0)
    return 1 - best / len(owners)


def zone_accuracy(read: Sequence[str], true: Sequence[str]) -> float:
    """Share of zones whose parent was read right, for a picture whose recipe is known: the ruler's own error.

    Raises:
        DistokError: no zones, or as many read as there are not.
    """
    if not read or len(read) != len(true):
        raise DistokError(f"{len(read)} zones were read and {len(true)} are known; give the same zones, at least one")
    return sum(a == b for a, b in zip(read, true, strict=True)) / len(read)


class _PartScorer(Scorer):
    """What both have in common: the evaluator's most probable parent of each zone."""

    def __init__(self, evaluator: "Evaluator", settings: ScorerSettings | None = None) -> None:
        self.evaluator, self.settings = evaluator, settings or ScorerSettings()

    @cached_property
    def hash(self) -> str:
        """A short hash of the evaluator's weights."""
        return hash_of(self.evaluator, self.name)

    def owners(self, pictures: "Sequence[Image.Image]") -> list[tuple[str, ...]]:
        """The parent of each zone, in the order of ``distok.menagerie.species.ZONES``."""
        from distok.menagerie.species import NAMES

        zones: Float[Tensor, "b z k"] = torch.cat([self.evaluator.read([picture]).zones for picture in pictures])
        return [tuple(NAMES[i] for i in row) for row in zones.argmax(-1).tolist()]


class PartFaithfulness(_PartScorer):
    """:func:`faithfulness` of the zones the evaluator reads; the prompt is a mix, "pig=0.5, owl=0.5"."""

    name = "part faithfulness"
    scale = Scale(0, 1)

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        from distok.menagerie.species import NAMES

        asked = [Distribution.parse(text, NAMES).as_dict() for text in prompts]
        return torch.tensor([faithfulness(a, b) for a, b in zip(self.owners(pictures), asked, strict=True)])


class PartNovelty(_PartScorer):
    """:func:`novelty` of the zones the evaluator reads."""

    name = "part novelty"
    scale = Scale(0, 11 / 12)
    needs_prompt = False

    def __init__(
        self, evaluator: "Evaluator", known: Iterable[Iterable[str]] = (), settings: ScorerSettings | None = None
    ) -> None:
        super().__init__(evaluator, settings)
        self.known = tuple(tuple(each) for each in known)

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        return torch.tensor([novelty(owners, self.known) for owners in self.owners(pictures)])
