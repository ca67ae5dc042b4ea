"""The concept pool: the known classes, then the concepts discovered while training.

Shapes: k known classes, m concepts in all, a admitted or offered concepts, d token width, e feature width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from distok.errors import DistokError


class ConceptPool:
    """Concepts 0 … k−1 are the known classes with one-hot distributions; the admitted ones follow, oldest first.

    Every concept carries its token, its distribution over the known classes and its constant text feature E(q(t)). An
    admitted concept is itself a mix, so fusing it fuses all of its classes: complexity grows with training.

    Args:
        names: the known classes, unique.
        tokens: their input tokens.
        features: their text features E("a photo of a <name>").
        tau: a concept is admitted only if its largest class probability is below this (τ of the paper; 1 admits nearly all).
        size: most admitted concepts kept; the oldest leave first, since an older decoder made them.
    """

    def __init__(
        self,
        names: Sequence[str],
        tokens: Float[Tensor, "k d"],
        features: Float[Tensor, "k e"],
        tau: float = 0.85,
        size: int = 4096,
    ) -> None:
        if len(names) != len(tokens) or len(names) != len(features):
            raise ValueError(f"{len(names)} names, {len(tokens)} tokens and {len(features)} features must be of one length")
        self.names, self.tau, self.size = tuple(names), tau, size
        self.tokens, self.features = tokens, features
        self.distributions = torch.eye(len(names), dtype=tokens.dtype, device=tokens.device)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def known(self) -> int:
        """How many known classes."""
        return len(self.names)

    @property
    def admitted(self) -> int:
        """How many admitted concepts."""
        return len(self) - self.known

    @property
    def known_tokens(self) -> Float[Tensor, "k d"]:
        """The tokens t_i of the known classes."""
        return self.tokens[: self.known]

    def passes(self, distributions: Float[Tensor, "a k"]) -> Bool[Tensor, " a"]:
        """Which distributions are novel: max p < τ. A reading that is not finite never passes."""
        return torch.isfinite(distributions).all(-1) & (distributions.amax(-1) < self.tau)

    def admit(
        self, tokens: Float[Tensor, "a d"], distributions: Float[Tensor, "a k"], features: Float[Tensor, "a e"]
    ) -> Bool[Tensor, " a"]:
        """Offer concepts; those that pass the gate join the pool. Returns which did."""
        gate = self.passes(distributions)
        self.tokens = self._append(self.tokens, tokens[gate])
        self.distributions = self._append(self.distributions, distributions[gate])
        self.features = self._append(self.features, features[gate])
        return gate

    def state(self) -> dict[str, Tensor]:
        """The admitted concepts as tensors; the known ones are made again from the text encoder."""
        k = self.known
        return {"tokens": self.tokens[k:], "distributions": self.distributions[k:], "features": self.features[k:]}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Replace the admitted concepts by those of :meth:`state`.

        Raises:
            DistokError: the tensors do not fit this pool.
        """
        for name, current in self.state().items():
            if name not in state or state[name].shape[1:] != current.shape[1:]:
                raise DistokError(f"the saved pool's {name} do not fit {self.known} classes; start a new run folder")
            rows = torch.cat([getattr(self, name)[: self.known], state[name].to(current)])
            setattr(self, name, rows)

    def _append(self, rows: Tensor, new: Tensor) -> Tensor:
        novel = torch.cat([rows[self.known :], new.to(rows)])
        return torch.cat([rows[: self.known], novel[max(len(novel) - self.size, 0) :]])
