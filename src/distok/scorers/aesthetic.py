"""LAION's aesthetic predictor: a small head on the image feature of CLIP ViT-L/14; the prompt plays no part.

The folder is that of the CLIP model, with the head's weights beside it as ``aesthetic.safetensors``. Shapes: b pictures.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distok.errors import DistokError
from distok.files import read_tensors
from distok.labelers.loading import hash_of
from distok.scorers.base import MissingWeightsError, Scale, Scorer, ScorerSettings
from distok.scorers.clip import Tower, load_tower
from distok.scorers.image_reward import head

if TYPE_CHECKING:
    from PIL import Image

FILE = "aesthetic.safetensors"


class Aesthetic(Scorer):
    """The mean rating, 1 to 10, that people would give (Schuhmann et al. 2022, LAION-5B, sec. on aesthetics).

    Loads the published layouts: one linear layer (``weight``, ``bias``), the MLP of linear layers (``layers.0`` to ``layers.7``)
    and the one with ReLUs (``layers.0`` to ``layers.11``). The head is a regression: it can leave the range.
    """

    name = "aesthetic"
    scale = Scale(1, 10)
    needs_prompt = False

    def __init__(self, tower: Tower, rating: nn.Module, settings: ScorerSettings | None = None) -> None:
        self.tower, self.rating, self.settings = tower, rating, settings or ScorerSettings()

    @classmethod
    def load(cls, folder: Path, settings: ScorerSettings) -> "Aesthetic":
        """Load the CLIP model of a folder and the head beside it.

        Raises:
            DistokError: a part is missing or corrupt, weights are pickled only, or a head for features of another width.
        """
        path = folder / FILE
        if not path.is_file():
            raise MissingWeightsError(f"{path} is not there; convert the published head (.pth) to it and put it into that folder")
        tensors, _ = read_tensors(path)
        if not tensors or not all(key.startswith("layers.") or key in ("weight", "bias") for key in tensors):
            raise DistokError(f"{path} is not LAION's aesthetic head; convert the published .pth to safetensors again")
        rating = head({key.removeprefix("layers.") if key[0] == "l" else f"0.{key}": value for key, value in tensors.items()})
        tower = load_tower(folder, settings)
        width, found = tower.model.config.projection_dim, rating[0].in_features
        if width != found:
            raise DistokError(
                f"{path} rates features of width {found}, but {folder} gives {width}; use the head of that CLIP model"
            )
        return cls(tower, rating.to(settings.device).float().eval(), settings)

    @cached_property
    def hash(self) -> str:
        """A short hash of the dtype and every weight."""
        return hash_of(torch.nn.ModuleList([self.tower.model, self.rating]), f"{self.name}/{self.settings.dtype}")

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        return self.rating(self.tower.image_features(pictures))[:, 0]
