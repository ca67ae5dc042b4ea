"""Features of pictures for the measures of sets: of any CLIP model, of other image models, or of the Menagerie's ruler.

Shapes: b pictures, f features.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.loading import hash_of, load_image_processor, load_model
from distok.scorers import open_clip
from distok.scorers.base import NotFiniteError, ScorerSettings
from distok.scorers.clip import KINDS, Tower, load_tower

if TYPE_CHECKING:
    from PIL import Image

    from distok.menagerie.evaluator import Evaluator


class Features(ABC):
    """A fixed map from a picture to a vector; every number of a set must name the one it was taken with."""

    settings: ScorerSettings = ScorerSettings()

    @property
    @abstractmethod
    def hash(self) -> str:
        """A short hash of the weights and settings that decide a feature."""

    @abstractmethod
    def _features(self, pictures: "Sequence[Image.Image]") -> Float[Tensor, "b f"]: ...

    @torch.no_grad()
    def __call__(self, pictures: "Sequence[Image.Image]") -> Float[np.ndarray, "b f"]:
        """The features of at least one picture, in double precision.

        Raises:
            NotFiniteError: a feature is infinite or no number.
            DistokError: there is no picture.
        """
        if len(pictures) == 0:
            raise DistokError("features of no picture; give at least one")
        step, parts = self.settings.batch, []
        for start in range(0, len(pictures), step):
            images = [picture.convert("RGB") for picture in pictures[start : start + step]]
            parts.append(self._features(images).double().cpu().numpy())
        features = np.concatenate(parts)
        if not np.isfinite(features).all():
            bad = int(np.isfinite(features).all(1).argmin()) + 1
            raise NotFiniteError(f"a feature of picture {bad} of {len(features)}")
        return features


class ClipFeatures(Features):
    """The projected image features of a CLIP model, of length 1."""

    def __init__(self, tower: Tower, settings: ScorerSettings | None = None) -> None:
        self.tower, self.settings = tower, settings or ScorerSettings()

    @cached_property
    def hash(self) -> str:
        """A short hash of the dtype and every weight."""
        return hash_of(self.tower.model, f"features/{self.settings.dtype}")

    def _features(self, pictures: "Sequence[Image.Image]") -> Float[Tensor, "b f"]:
        return self.tower.image_features(pictures)


class PooledFeatures(Features):
    """The pooled output of an image model, such as DINOv2 or ViT."""

    def __init__(self, model: Any, images: Any, settings: ScorerSettings | None = None) -> None:
        self.model, self.images, self.settings = model, images, settings or ScorerSettings()

    @cached_property
    def hash(self) -> str:
        """A short hash of the dtype and every weight."""
        return hash_of(self.model, f"features/{self.settings.dtype}")

    def _features(self, pictures: "Sequence[Image.Image]") -> Float[Tensor, "b f"]:
        pixels = self.images(images=list(pictures), return_tensors="pt")["pixel_values"]
        output = self.model(pixel_values=pixels.to(self.model.device, self.model.dtype))
        found = getattr(output, "pooler_output", None)
        if found is None:
            name = type(self.model).__name__
            raise DistokError(f"a {name} has no pooled output to take as features; give a CLIP, ViT or DINOv2 folder")
        return found.float().flatten(1)


class EvaluatorFeatures(Features):
    """The features of the Menagerie's independent evaluator."""

    def __init__(self, evaluator: "Evaluator", settings: ScorerSettings | None = None) -> None:
        self.evaluator, self.settings = evaluator, settings or ScorerSettings()

    @cached_property
    def hash(self) -> str:
        """A short hash of every weight."""
        return hash_of(self.evaluator, "features")

    def _features(self, pictures: "Sequence[Image.Image]") -> Float[Tensor, "b f"]:
        # One by one in size: the evaluator stacks pictures, and pictures of a set may differ.
        return torch.cat([self.evaluator.read([picture]).features for picture in pictures])


def open_features(path: str | Path, settings: ScorerSettings | None = None) -> Features:
    """Open a CLIP folder, a folder of an image model with a pooled output, or an ``evaluator.safetensors``.

    Raises:
        DistokError: none of these, or a part is missing, pickled only or corrupt.
    """
    settings = settings or ScorerSettings()
    if Path(path).suffix == ".safetensors":
        from distok.menagerie.evaluator import Evaluator

        return EvaluatorFeatures(Evaluator.load(path).to(settings.device), settings)
    if Path(path).is_dir() and open_clip.is_layout(Path(path)):
        return ClipFeatures(load_tower(Path(path), settings), settings)
    folder = pretrained.local_folder(path, "config.json", "feature extractor")
    if pretrained.read_json(folder / "config.json").get("model_type") in KINDS:
        return ClipFeatures(load_tower(folder, settings), settings)
    model = load_model(folder, "AutoModel", settings.device, settings.torch_dtype)
    return PooledFeatures(model, load_image_processor(folder), settings)
