"""Fidelity: how far a picture's reading lies from the mix that was asked for; here a prompt is a mix, "pig=0.55, sheep=0.45".

Shapes: b pictures, k names.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok.distribution import Distribution, compare
from distok.errors import DistokError
from distok.scorers.base import Scale, Scorer, ScorerSettings

if TYPE_CHECKING:
    from PIL import Image

    from distok.labelers import Labeler

MEASURES = {
    "kl": Scale(0, float("inf"), higher_is_better=False),
    "kl_reverse": Scale(0, float("inf"), higher_is_better=False),
    "js": Scale(0, 0.6931471805599453, higher_is_better=False),
    "top1": Scale(0, 1),
    "topk": Scale(0, 1),
    "spearman": Scale(-1, 1),
}


class Fidelity(Scorer):
    """One of :data:`MEASURES` between the asked mix and a labeler's reading; see ``distok.distribution.compare``.

    Args:
        labeler: reads the picture.
        names: the classes it chooses among; a mix may name no other.
        measure: which one.
    """

    def __init__(
        self, labeler: "Labeler", names: Sequence[str], measure: str = "kl", settings: ScorerSettings | None = None
    ) -> None:
        if measure not in MEASURES:
            raise DistokError(f"unknown fidelity measure {measure!r}; choose one of {', '.join(MEASURES)}")
        self.labeler, self.names, self.measure = labeler, tuple(names), measure
        self.name, self.scale, self.settings = measure, MEASURES[measure], settings or ScorerSettings()

    @property
    def hash(self) -> str:
        """Of the labeler, the classes it chooses among, and the measure."""
        from distok.concept import digest

        return digest(self.labeler.hash, self.measure, *self.names)

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        asked = [Distribution.parse(text, self.names).over(self.names) for text in prompts]
        read = self.labeler.probabilities(pictures, self.names).double().cpu().numpy()
        # A reading that is no number has no measure: NaN, which the caller refuses by the picture's place.
        pairs = zip(asked, read, strict=True)
        return torch.tensor([compare(a, b)[self.measure] if np.isfinite(b).all() else np.nan for a, b in pairs])
