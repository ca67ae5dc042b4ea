"""BASS: swap random columns of the prompt embeddings, keep pictures in a balance region, choose by their parts.

Li, Zhang, Yang, arXiv 2310.01819. Shapes: k classes, b pictures of the pool, s segments of a picture, w columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok import seeds
from distok.backends.base import Condition
from distok.baselines.base import Ask, Baseline, Ready, Settings, class_conditions
from distok.baselines.looks import looks, straight_mix
from distok.baselines.swap import Owners, stack, swap, widths

if TYPE_CHECKING:
    from PIL import Image

GRID = 2  # segments are a picture's quarters and its middle


@dataclass(frozen=True)
class BassSettings(Settings):
    """None of these values was found in public material: they are ours.

    Attributes:
        pool: swapped pictures a final one is chosen from.
        alpha: how unbalanced a picture may be, in units of the distance between the classes' own pictures.
        beta: how far from its classes it may be on average, in the same units.
        seed: of the swap vectors.
    """

    pool: int = 40
    alpha: float = 0.1
    beta: float = 0.75
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("pool")
        self.require_whole("seed", least=0)
        self.require_within(0, 10, "alpha", "beta")


class Bass(Baseline):
    """A search for each picture on its own noise; each column comes from a class with the chance of its weight."""

    name = "bass"
    title = "BASS"
    source = "arXiv 2310.01819 (ECCV 2024)"
    summary = "a pool of pictures with swapped prompt columns; the best of those balanced between the classes"
    needs_labeler = True
    weights = True
    least = 2
    revision = 2
    Settings = BassSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {"pool": 24}

    def prepare(self, ask: Ask) -> Ready:
        """Encode each class's prompt."""
        return Ready(parts={"conditions": class_conditions(ask)})

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """One search a seed."""
        found = [self._search(ask, ready.parts["conditions"], seed) for seed in ask.seeds]
        return [picture for picture, _ in found], {"accepted": [accepted for _, accepted in found], "pool": self.settings.pool}

    def _search(self, ask: Ask, conditions: Condition, seed: int) -> "tuple[Image.Image, int]":
        """The chosen picture, and how many lay in the balance region."""
        how: BassSettings = self.settings
        count = len(ask.mix.names)
        pool = [swap(conditions, self._owners(ask, conditions, seed, i)) for i in range(how.pool)]
        batch = stack([conditions, *pool])  # the classes' own pictures first, with the same noise
        pictures = ask.render(None, seeds=[seed] * (count + how.pool), condition=batch)
        seen = looks(ask.reader(), pictures, ask.names)
        alone, mixed = seen[:count], seen[count:]
        even = straight_mix(ask.reader(), alone, torch.tensor(ask.mix.weights))
        distances, between = 1 - mixed @ alone.T, 1 - alone @ alone.T
        balanced, inside = balance_region(distances, between, 1 - even @ alone.T, how.alpha, how.beta)
        best, score = -1, -float("inf")
        for i in inside:
            parts = looks(ask.reader(), segments(pictures[count + i]), ask.names)
            fit = part_score(parts @ alone.T)
            if fit > score:
                best, score = i, fit
        return pictures[count + best], balanced

    def _owners(self, ask: Ask, conditions: Condition, seed: int, index: int) -> Owners:
        random = seeds.rng(self.settings.seed, "bass", seed, index)
        shares = np.asarray(ask.mix.weights) / np.sum(ask.mix.weights)
        return {key: torch.from_numpy(random.choice(len(shares), w, p=shares)) for key, w in widths(conditions).items()}


def balance_region(
    distances: Float[Tensor, "b k"], between: Float[Tensor, "k k"], even: Float[Tensor, " k"], alpha: float, beta: float
) -> tuple[int, list[int]]:
    """Which pictures are balanced: for a pair |d(I_f, I_1) − d(I_f, I_2)| ≤ α and d(I_f, I_1) + d(I_f, I_2) ≤ 2β (paper).

    For unequal weights and more classes the distances are taken from those of a straight mix by weight; for a pair at equal
    weights that changes nothing.

    Args:
        distances: of each picture to each class's own picture.
        between: of the classes' own pictures to each other.
        even: of a straight mix by weight to each class's own picture.
        alpha, beta: in units of the mean of ``between`` over pairs of classes.

    Returns:
        How many lie in the region, and their numbers; where none does, that of the one nearest to balance.
    """
    count = len(between)
    unit = between.sum() / (count * (count - 1))
    excess = distances - even
    tilt = excess.max(1).values - excess.min(1).values
    inside = ((tilt <= alpha * unit) & (distances.mean(1) <= beta * unit)).nonzero()[:, 0].tolist()
    return len(inside), inside or [int(tilt.argmin())]


def segments(picture: "Image.Image") -> "list[Image.Image]":
    """The parts of a picture that are compared with the classes: its quarters and its middle."""
    width, height = picture.size
    half = (width // GRID, height // GRID)
    corners = [(x * half[0], y * half[1]) for y in range(GRID) for x in range(GRID)]
    corners.append(((width - half[0]) // 2, (height - half[1]) // 2))
    return [picture.crop((x, y, x + half[0], y + half[1])) for x, y in corners]


def part_score(likeness: Float[Tensor, "s k"]) -> float:
    """How well the class that is shown least is shown by its best part."""
    return float(likeness.max(0).values.min())
