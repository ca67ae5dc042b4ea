"""Novelty: what is not a known class. Three readings of the word, none of which needs a judge.

Shapes: b pictures, k names, r reference pictures, f features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok.errors import DistokError
from distok.scorers.base import Scale, Scorer, ScorerSettings
from distok.scorers.features import Features

if TYPE_CHECKING:
    from PIL import Image

    from distok.labelers import Labeler

TAU = 0.85  # the paper's gate


class Unnamed(Scorer):
    """1 − max p(c | picture) over known classes: 0 for a picture that is surely one of them, at most 1 − 1/k.

    A picture passes the paper's gate where the score is above 1 − τ = 0.15; :meth:`gate` says which do.
    """

    name = "unnamed"
    needs_prompt = False

    def __init__(
        self, labeler: "Labeler", names: Sequence[str], tau: float = TAU, settings: ScorerSettings | None = None
    ) -> None:
        if not 0 < tau <= 1:
            raise DistokError(f"the gate's tau is {tau}; give a share above 0 and at most 1, such as {TAU}")
        if len(names) < 2:
            raise DistokError(f"novelty among {len(names)} classes says nothing; give at least 2")
        self.labeler, self.names, self.tau, self.settings = labeler, tuple(names), tau, settings or ScorerSettings()
        self.scale = Scale(0, 1 - 1 / len(names))

    @property
    def hash(self) -> str:
        """Of the labeler and the classes it chooses among."""
        from distok.concept import digest

        return digest(self.labeler.hash, *self.names)

    def gate(self, pictures: "Sequence[Image.Image]") -> list[bool]:
        """Whether max p(c | picture) < τ, the paper's condition for the pool."""
        return [value > 1 - self.tau for value in self(pictures).tolist()]

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        return 1 - self.labeler.probabilities(pictures, self.names).max(1).values


class Unseen(Scorer):
    """1 − max cosine of a picture's feature to pictures of known classes, in [0, 2]: 0 for a copy of one of them."""

    name = "unseen"
    scale = Scale(0, 2)
    needs_prompt = False

    def __init__(self, features: Features, reference: "Sequence[Image.Image]", settings: ScorerSettings | None = None) -> None:
        self.features, self.settings = features, settings or ScorerSettings()
        self.known: Float[np.ndarray, "r f"] = _unit(features(reference))

    @property
    def hash(self) -> str:
        """Of the feature extractor and the reference."""
        import hashlib

        return hashlib.blake2b(self.features.hash.encode() + self.known.tobytes(), digest_size=8).hexdigest()

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        return torch.from_numpy(1 - (_unit(self.features(pictures)) @ self.known.T).max(1)).clamp(min=0)


def _unit(x: Float[np.ndarray, "b f"]) -> Float[np.ndarray, "b f"]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
