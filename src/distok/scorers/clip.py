"""Scores by one cosine of a CLIP model: CLIPScore, PickScore, HPSv2.1. They differ in weights, scale and framing alone.

Shapes: b pictures, e feature width.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.clip import flat_features, image_feature, text_feature
from distok.labelers.loading import exact, hash_of, load_image_processor, load_model, load_tokenizer
from distok.scorers import open_clip
from distok.scorers.base import NotFiniteError, Scale, Scorer, ScorerSettings

if TYPE_CHECKING:
    from PIL import Image

KINDS = {"clip": "CLIPModel", "vision-text-dual-encoder": "VisionTextDualEncoderModel"}


@dataclass
class Tower:
    """A CLIP model with its tokenizer and image processor.

    Attributes:
        model: a ``CLIPModel`` or a ``VisionTextDualEncoderModel``.
        tokenizer, images: that belong to it.
        whole: keep the whole picture, its longer side fitted and the rest black, instead of cropping the middle.
    """

    model: Any
    tokenizer: Any
    images: Any
    whole: bool = False

    def image_features(self, pictures: "Sequence[Image.Image]") -> Float[Tensor, "b e"]:
        """The projected features of pictures, of length 1."""
        if self.whole:
            pictures = [_fitted(picture, self.images) for picture in pictures]
        pixels = self.images(images=list(pictures), return_tensors="pt")["pixel_values"]
        return _finite(image_feature(self.model, pixels.to(self.model.device, self.model.dtype)))

    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "b e"]:
        """The projected features of texts, of length 1; a text is cut where the model's context ends."""
        inputs = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        return _finite(text_feature(self.model, {key: inputs[key] for key in ("input_ids", "attention_mask")}))


def load_tower(folder: Path, settings: ScorerSettings, whole: bool = False) -> Tower:
    """Load a folder of a ``CLIPModel`` (or a dual encoder), or of open_clip weights with that layout's key names.

    Raises:
        DistokError: a part is missing or corrupt, weights are pickled only, or another kind of model.
    """
    if open_clip.is_layout(folder):
        tokenizer = load_tokenizer(folder)
        with pretrained.loading(folder):
            model, images = open_clip.load(folder, tokenizer)
        model.stored_scales = {"logit_scale": model.logit_scale.item()}
        return Tower(model.to(settings.device, settings.torch_dtype).eval(), tokenizer, images, whole)
    kind = pretrained.read_json(folder / "config.json").get("model_type")
    if kind not in KINDS:
        raise DistokError(f"{folder} is a model of type {kind!r}, but a CLIP model is expected; supported: {', '.join(KINDS)}")
    model = flat_features(load_model(folder, KINDS[kind], settings.device, settings.torch_dtype))
    return Tower(model, load_tokenizer(folder), load_image_processor(folder), whole)


class _CosineScorer(Scorer):
    """What the three have in common; ``_scaled`` makes a score of a cosine."""

    whole = False

    def __init__(self, tower: Tower, settings: ScorerSettings | None = None) -> None:
        self.tower, self.settings = tower, settings or ScorerSettings()

    @classmethod
    def load(cls, folder: Path, settings: ScorerSettings) -> "_CosineScorer":
        """Load the model of a local folder; raises as :func:`load_tower`."""
        return cls(load_tower(folder, settings, cls.whole), settings)

    @cached_property
    def hash(self) -> str:
        """A short hash of the name, the dtype and every weight."""
        return hash_of(self.tower.model, f"{self.name}/{self.settings.dtype}/{self.whole}")

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        return self._scaled((self.tower.image_features(pictures) * self.tower.text_features(prompts)).sum(-1))

    @abstractmethod
    def _scaled(self, cosines: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The score on this metric's own scale."""


class ClipScore(_CosineScorer):
    """CLIPScore (Hessel et al. 2021, eq. 1) as torchmetrics scales it: 100 · max(cos, 0), the prompt as it is.

    The paper's own is 2.5 · max(cos, 0), the prompt after "A photo depicts ": put the words in front and divide by 40.
    """

    name = "CLIPScore"
    scale = Scale(0, 100)

    def _scaled(self, cosines: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return 100 * cosines.clamp(min=0)


class PickScore(_CosineScorer):
    """PickScore (Kirstain et al. 2023, eq. 1): exp(logit scale) · cos, about 20 to 23 with the published CLIP-H weights."""

    name = "PickScore"
    scale = Scale(-100, 100)

    def _scaled(self, cosines: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return math.exp(exact(self.tower.model, "logit_scale")) * cosines


class Hps(_CosineScorer):
    """HPSv2.1 (Wu et al. 2023): the bare cosine, about 0.25 to 0.33 with the published CLIP-H weights.

    The picture is fitted whole into the model's square, the rest black, as in the published scorer.
    """

    name = "HPSv2.1"
    scale = Scale(-1, 1)
    whole = True

    def _scaled(self, cosines: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return cosines


def typicality(
    tower: Tower, pictures: "Sequence[Image.Image]", category: str, kinds: Sequence[str], template: str = "a photo of a {}"
) -> Float[Tensor, " b"]:
    """100 · (cos to the category − largest cos to one of its known kinds): high for a pet that is like no known pet.

    Relative typicality compares a category with its sub-categories in CLIP (VLM-guided adaptive negative prompting, 2025);
    its exact formula is in an appendix that we could not read, so this form is ours and its numbers are not the paper's.
    From Python alone: it takes a category and its kinds in place of a prompt, so it is no :class:`Scorer` and in no table.

    Raises:
        DistokError: no picture, or no kind.
    """
    if not pictures or not kinds:
        raise DistokError(f"typicality got {len(pictures)} pictures and {len(kinds)} kinds; give at least one of each")
    with torch.no_grad():
        texts = tower.text_features([template.replace("{}", name) for name in (category, *kinds)])
        cosines = tower.image_features([picture.convert("RGB") for picture in pictures]) @ texts.T
    return (100 * (cosines[:, 0] - cosines[:, 1:].max(1).values)).cpu()


def _fitted(picture: "Image.Image", images: Any) -> "Image.Image":
    from PIL import Image

    side = images.crop_size["height"]
    share = side / max(picture.size)
    fitted = picture.resize([max(1, round(length * share)) for length in picture.size], Image.Resampling.BICUBIC)
    square = Image.new("RGB", (side, side))
    square.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
    return square


def _finite(features: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
    if not math.isfinite(features.abs().sum().item()):
        raise NotFiniteError("a CLIP feature")
    return features
