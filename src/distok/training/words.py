"""What a run says to the text encoder: the prompts q_a, q_r and q_s of its losses, and their features.

Shapes: f fusions, b prompts, m creative tokens in them, d token width, e feature width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends import Backend, fill, slot
from distok.pool import ConceptPool
from distok.training.settings import TrainSettings
from distok.training.tasks import Allowed, Tasks, said

CACHED_PAIRS = 20_000  # known pairs whose constant E(q_r) is encoded once at the start; beyond it, each step encodes its own
ENCODED = 256  # prompts per call of the text encoder outside the steps


class Words:
    """The prompts of a run's losses, those that never change encoded once.

    Args:
        pool: whose concepts the prompts name.
        allowed: the pairs that may be fused.

    Attributes:
        adaptive: q_a with the slot of each task of a step.
        style: E(q_s); None where fusion is off.
    """

    def __init__(self, settings: TrainSettings, backend: Backend, pool: ConceptPool, allowed: Allowed) -> None:
        self.settings, self.backend, self.pool, self.allowed = settings, backend, pool, allowed
        self.adaptive = [fill(settings.adaptive_prompt, i) for i in range(settings.sub_steps)]
        self.style, self._restrictive = self._constants()

    @torch.no_grad()
    def restrictive(self, tasks: Tasks) -> Float[Tensor, "f e"]:
        """E(q_r) of each fusion: cached for two known classes, encoded here for mixtures and where an admitted one takes part.

        That of a mixture names its classes, the heaviest first.
        """
        pairs = list(zip(tasks.left.tolist(), tasks.right.tolist(), strict=True))
        missing = [pair for pair in pairs if pair not in self._restrictive]
        if missing:
            prompts, used = self._restrictive_prompts(missing)
            fresh = dict(zip(missing, self.backend.encode(prompts, self.pool.tokens[used] if used else None), strict=True))
        features = [self._restrictive[pair] if pair in self._restrictive else fresh[pair] for pair in pairs]
        if len(tasks.mixtures):
            features += list(self.backend.encode([said(self.settings, self.pool.names, weights) for weights in tasks.mixtures]))
        return torch.stack(features)

    def _constants(self) -> tuple[Float[Tensor, " e"] | None, dict[tuple[int, int], Tensor]]:
        """E(q_s), and E(q_r) of both orders of every fusable known pair; nothing where fusion is off.

        They are made before the first step and not on demand: a feature's last bits depend on the batch that made it, and a
        resumed run must not batch them differently.
        """
        if self.settings.alpha == 0:
            return None, {}
        style = encode(self.backend, [self.settings.aesthetic_prompt])[0]
        if 2 * len(self.allowed.pairs) > CACHED_PAIRS:
            return style, {}
        pairs = [(i, j) for a, b in self.allowed.pairs.tolist() for i, j in ((a, b), (b, a))]
        return style, dict(zip(pairs, encode(self.backend, self._restrictive_prompts(pairs)[0]), strict=True))

    def _restrictive_prompts(self, pairs: Sequence[tuple[int, int]]) -> tuple[list[str], list[int]]:
        """The prompts q_r of pairs, and which concepts of the pool their creative tokens are."""
        used = sorted({i for pair in pairs for i in pair if i >= self.pool.known})
        word = {**dict(enumerate(self.pool.names)), **{concept: slot(row) for row, concept in enumerate(used)}}
        return [self.settings.restrictive_prompt.format(word[i], word[j]) for i, j in pairs], used


@torch.no_grad()
def encode(backend: Backend, prompts: Sequence[str], tokens: Float[Tensor, "m d"] | None = None) -> Float[Tensor, "b e"]:
    """E(q) of any number of prompts, ``ENCODED`` a call."""
    return torch.cat([backend.encode(prompts[i : i + ENCODED], tokens) for i in range(0, len(prompts), ENCODED)])
