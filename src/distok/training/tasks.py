"""What a training step does: which concepts are fused and which distributions are made consistent.

Every draw is a pure function of (seed, step) and the pool's distributions, so a resumed run draws the same tasks.

Shapes: f fused pairs, m fused mixtures, c consistencies, p allowed pairs, n mixtures, a concepts of the pool, k known classes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from distok import seeds
from distok.errors import DistokError
from distok.training.settings import TrainSettings

HEARD = 0.1  # a smaller share of a mixture is not named in its q_r: nobody could see it in a picture
TRIES = 100  # to find an admitted concept that may be fused; then two known classes are, which always may


@dataclass(frozen=True)
class Tasks:
    """The tasks of one step, as indices into the concept pool and as weights of the known classes."""

    left: Int[np.ndarray, " f"]  # first concepts of the fused pairs
    right: Int[np.ndarray, " f"]  # second concepts
    mixtures: Float[np.ndarray, "m k"]  # fused mixtures of known classes
    targets: Int[np.ndarray, " c"]  # concepts of the consistencies

    def __len__(self) -> int:
        return self.fused + len(self.targets)

    def part(self, every: slice) -> "Tasks":
        """Those of the tasks whose place in the step's order is in ``every``: fused pairs, fused mixtures, consistencies."""
        places = np.arange(len(self))[every]
        pairs, fused = len(self.left), self.fused
        paired = places[places < pairs]
        mixed = places[(places >= pairs) & (places < fused)] - pairs
        return Tasks(self.left[paired], self.right[paired], self.mixtures[mixed], self.targets[places[places >= fused] - fused])

    @property
    def fused(self) -> int:
        """How many are fusions."""
        return len(self.left) + len(self.mixtures)


@dataclass(frozen=True)
class Allowed:
    """Which known classes may be mixed in training.

    Attributes:
        pairs: indices i < j of two classes that may be fused.
        held_out: sets of classes of which no mixture is made, and which none names: a class that weighs next to nothing beside
            a held-out pair does not make another mixture of it.
    """

    pairs: Int[np.ndarray, "p 2"]
    held_out: frozenset[frozenset[int]] = frozenset()

    @classmethod
    def among(cls, names: Sequence[str], held_out: Iterable[Sequence[str]] = ()) -> "Allowed":
        """All mixes of ``names`` but those held out: of two classes, or more.

        Raises:
            DistokError: a held-out set names an unknown class, or no pair is left.
        """
        index = {name: i for i, name in enumerate(names)}
        banned = set()
        for each in held_out:
            for name in each:
                if name not in index:
                    raise DistokError(f"the held-out {tuple(each)} names {name!r}, which is not a known class; correct it")
            banned.add(frozenset(index[name] for name in each))
        left, right = np.triu_indices(len(names), 1)
        pairs = np.stack([left, right], 1)
        keep = np.array([frozenset(pair) not in banned for pair in pairs.tolist()], dtype=bool)
        if not keep.any():
            count = sum(len(each) == 2 for each in banned)
            raise DistokError(f"{len(names)} classes and {count} held-out pairs leave no pair to fuse; hold out fewer")
        return cls(pairs[keep], frozenset(banned))

    def mix(self, classes: Iterable[int]) -> bool:
        """Whether just these classes may be mixed."""
        return frozenset(classes) not in self.held_out

    def lost_sizes(self, classes: int) -> frozenset[int]:
        """How many of ``classes`` cannot be mixed, as every such set is held out; never 1 or 2, as a pair is always left."""
        counts = Counter(len(each) for each in self.held_out)
        return frozenset(size for size, count in counts.items() if count == comb(classes, size))

    def members(self, rng: np.random.Generator, classes: int, count: int) -> Int[np.ndarray, " m"]:
        """``count`` of the classes at random, never a set that is held out; without an end where ``count`` is a lost size."""
        if count == 2:
            return self.pairs[rng.integers(len(self.pairs))]
        while True:
            chosen = rng.permutation(classes)[:count]
            if frozenset(chosen.tolist()) not in self.held_out:
                return chosen


def draw(step: int, settings: TrainSettings, allowed: Allowed, pool: Float[Tensor, "a k"]) -> Tasks:
    """Draw the tasks of ``step``.

    Two known classes are always an allowed pair, and so are two concepts: what both show together is not held out. While
    there is nothing to be consistent with, a task is a fusion; with ``alpha`` or ``beta`` at 0 its kind is never drawn.

    Args:
        pool: the distribution of every concept, the known classes first.
    """
    rng = seeds.rng(settings.seed, "tasks", step)
    known, admitted = pool.shape[1], len(pool) - pool.shape[1]
    ready = settings.beta > 0 and (admitted > 0 or settings.known_share > 0)
    fusion_share = 0.0 if settings.alpha == 0 else settings.fusion_share if ready else 1.0
    fusions = int((rng.random(settings.sub_steps) < fusion_share).sum())
    consistent = settings.sub_steps - fusions if ready else 0
    mixed = int((rng.random(fusions) < settings.mixture_share).sum())
    mixtures = random_mixtures(rng, mixed, known, settings.estimate_active, allowed)
    share = settings.novel_share if settings.novel_share is not None else admitted / (known + admitted)
    chosen = [_draw_pair(rng, allowed, pool, share if admitted else 0.0) for _ in range(fusions - mixed)]
    left, right = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    on_known = rng.random(consistent) < (settings.known_share if admitted else 1.0)
    targets = np.where(on_known, rng.integers(known, size=consistent), known + rng.integers(max(admitted, 1), size=consistent))
    return Tasks(left, right, mixtures, targets)


def random_mixtures(
    rng: np.random.Generator, count: int, classes: int, most: int, allowed: Allowed | None = None
) -> Float[np.ndarray, "n k"]:
    """Distributions with 2 … ``most`` active classes (1 where ``most`` is) and Dirichlet weights, of ``allowed`` classes.

    The concentration is itself drawn, log-uniformly from 1 to 16: from lopsided weights to nearly equal ones. A text encoder
    that decides which words are there changes its mind within a narrow band around equality (docs/log.md), and uniform
    weights alone would seldom fall into it.
    """
    lost = allowed.lost_sizes(classes) if allowed else frozenset()
    rows = [_random_mixture(rng, classes, most, allowed, lost) for _ in range(count)]
    return np.array(rows, dtype=np.float32).reshape(count, classes)


def _random_mixture(
    rng: np.random.Generator, classes: int, most: int, allowed: Allowed | None, lost: frozenset[int]
) -> Float[np.ndarray, " k"]:
    while True:  # an end comes: two classes are always drawn now and then, and an allowed pair names just itself
        active = int(rng.integers(min(2, most), min(most, classes) + 1))
        if active in lost:
            continue
        members = rng.permutation(classes)[:active] if allowed is None else allowed.members(rng, classes, active)
        row = np.zeros(classes, dtype=np.float32)
        row[members] = rng.dirichlet(np.full(active, 16.0 ** rng.random()))
        if allowed is None or allowed.mix(heard(row)):
            return row


def heard(weights: Float[np.ndarray, " k"]) -> list[int]:
    """The classes of a mixture that its q_r names: those with a share of at least ``HEARD``, two or more, the heaviest first."""
    order = np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)].tolist()
    return [i for rank, i in enumerate(order) if rank < 2 or weights[i] >= HEARD]


def said(settings: TrainSettings, names: Sequence[str], weights: Float[np.ndarray, " k"]) -> str:
    """The prompt q_r of a mixture of known classes, by their names."""
    *first, last = [names[i] for i in heard(weights)]
    return settings.restrictive_prompt.format(" ".join(first), last)


def shown(distributions: Float[Tensor, "a k"]) -> list[list[int]]:
    """The classes that each of some readings shows: those with a share of at least ``HEARD``."""
    return [np.flatnonzero(row >= HEARD).tolist() for row in distributions.cpu().numpy()]


def _draw_pair(rng: np.random.Generator, allowed: Allowed, pool: Float[Tensor, "a k"], share: float) -> tuple[int, int]:
    for _ in range(TRIES):
        i, j = _any_pair(rng, allowed, pool.shape[1], len(pool) - pool.shape[1], share)
        left, right = shown(pool[[i, j]])
        if allowed.mix({*left, *right}):
            break
    else:
        i, j = _any_pair(rng, allowed, pool.shape[1], 0, 0.0)
    # The order of names is part of q_r, and the encoder is causal: both orders are taught.
    return (i, j) if rng.random() < 0.5 else (j, i)


def _any_pair(rng: np.random.Generator, allowed: Allowed, known: int, admitted: int, share: float) -> tuple[int, int]:
    novel = rng.random(2) < share
    if not novel.any():
        i, j = allowed.pairs[rng.integers(len(allowed.pairs))].tolist()
        return i, j
    if novel.all() and admitted > 1:
        first, gap = int(rng.integers(admitted)), int(rng.integers(1, admitted))  # two different ones
        return known + first, known + (first + gap) % admitted
    return known + int(rng.integers(admitted)), int(rng.integers(known))
