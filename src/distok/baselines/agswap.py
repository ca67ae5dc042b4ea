"""AGSwap: groups of prompt-embedding columns change hands until the picture is balanced between its classes.

Zhang et al., arXiv 2509.18699. Shapes: k classes, w columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int

from distok import seeds
from distok.backends.base import Condition
from distok.baselines.base import Ask, Baseline, Ready, Settings, class_conditions
from distok.baselines.looks import looks, straight_mix
from distok.baselines.swap import swap, widths

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class AgSwapSettings(Settings):
    """The start, half of the columns each, is published; these values were not found: they are ours.

    Attributes:
        group: share of the columns that changes hands at first; it is halved whenever the balance tips over.
        tolerance: |s| at which a picture is balanced, s the difference of two cosines.
        rounds: most pictures tried.
        seed: of the swap vectors and groups.
    """

    group: float = 0.125
    tolerance: float = 0.01
    rounds: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("rounds")
        self.require_whole("seed", least=0)
        self.require_within(0, 1, "group")
        self.require_within(0, 2, "tolerance")
        self.require("group", self.group > 0, "above 0")


class AgSwap(Baseline):
    """A search for each picture on its own noise."""

    name = "agswap"
    title = "AGSwap"
    source = "arXiv 2509.18699 (SIGGRAPH Asia 2025)"
    summary = "groups of prompt columns change hands, picture by picture, until the classes are balanced"
    needs_labeler = True
    weights = True
    least = 2
    revision = 2
    Settings = AgSwapSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {"rounds": 12}

    def prepare(self, ask: Ask) -> Ready:
        """Encode each class's prompt."""
        return Ready(parts={"conditions": class_conditions(ask)})

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """One search a seed."""
        found = [self._search(ask, ready.parts["conditions"], seed) for seed in ask.seeds]
        return [picture for picture, _, _ in found], {"balance": [s for _, s, _ in found], "rounds": [n for _, _, n in found]}

    def _search(self, ask: Ask, conditions: Condition, seed: int) -> "tuple[Image.Image, float, int]":
        """The most balanced picture, its |s|, and how many were tried."""
        how: AgSwapSettings = self.settings
        random = seeds.rng(how.seed, "agswap", seed)
        owners = {key: start(ask.mix.weights, width, random) for key, width in widths(conditions).items()}
        pictures = ask.render(None, seeds=[seed] * len(ask.mix.names), condition=conditions)
        alone = looks(ask.reader(), pictures, ask.names)
        even, share = straight_mix(ask.reader(), alone, torch.tensor(ask.mix.weights)) @ alone.T, how.group
        best, before, tried = (pictures[0], float("inf")), None, 0
        for _ in range(how.rounds):
            (picture,) = ask.render(None, seeds=[seed], condition=swap(conditions, owners))
            likeness = looks(ask.reader(), [picture], ask.names) @ alone.T
            excess = likeness[0] - even
            strong, weak = int(excess.argmax()), int(excess.argmin())
            score, tried = float(excess[strong] - excess[weak]), tried + 1
            if score < best[1]:
                best = (picture, score)
            if score <= how.tolerance:
                break
            share = share / 2 if before == (weak, strong) else share
            before = (strong, weak)
            owners = {key: hand_over(each, strong, weak, share, random) for key, each in owners.items()}
        return *best, tried


def start(weights: "tuple[float, ...]", width: int, random: np.random.Generator) -> Int[torch.Tensor, " w"]:
    """Owners of the columns in proportion to weight (for a pair: half each, as published), at random places."""
    edges = np.round(np.cumsum(weights) * width).astype(int)
    owners = np.searchsorted(edges, np.arange(width), side="right").clip(max=len(weights) - 1)
    return torch.from_numpy(random.permutation(owners))


def hand_over(
    owners: Int[torch.Tensor, " w"], giver: int, taker: int, share: float, random: np.random.Generator
) -> Int[torch.Tensor, " w"]:
    """A random group of ``share`` of all columns, at least one and at most all that it has, goes from ``giver`` to ``taker``."""
    held = np.flatnonzero(owners.numpy() == giver)
    group = random.permutation(held)[: max(1, round(share * len(owners)))]
    changed = owners.clone()
    changed[torch.from_numpy(group)] = taker
    return changed
