"""CLIP as a labeler: cosines of a picture with "a photo of a <name>", sharpened by a temperature.

Shapes: b pictures, k names, e feature width, l places of a picture.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.labelers import loading
from distok.labelers.base import Labeler, check_request
from distok.labelers.settings import ClipSettings

if TYPE_CHECKING:
    from PIL import Image

BATCH = 64  # pictures read together; bounds memory


class ClipLabeler(Labeler):
    """A transformers ``CLIPModel``, or a ``VisionTextDualEncoderModel`` (any image tower), read zero-shot.

    Args:
        model: the model on its device.
        processor: its ``CLIPProcessor``.
        settings: template, temperature (cosines are divided by it before the softmax; the model's own learned scale if None),
            and reading: "whole" compares one feature of the picture with the names (CLIP's own way); "places" lets every place
            of a convolutional tower name a class and adds up, see :func:`place_shares`; for models that were trained so.
        kind: its row in ``KINDS``.
    """

    def __init__(self, model: Any, processor: Any, settings: ClipSettings | None = None, kind: str = "clip") -> None:
        settings = settings or ClipSettings()
        if settings.reading == "places" and getattr(model.config.vision_config, "model_type", None) != "resnet":
            raise DistokError('a reading by places needs a ResNet as image tower; set "reading" to "whole" in labeler.json')
        self.model, self.processor, self.kind = model.eval(), processor, kind
        self.settings, self.template, self.reading = settings, settings.template, settings.reading
        self.temperature = (
            math.exp(-loading.exact(model, "logit_scale")) if settings.temperature is None else settings.temperature
        )
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @classmethod
    def load(
        cls, kind: str, folder: Path, settings: ClipSettings, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "ClipLabeler":
        """Load from a folder with the model, its tokenizer and its image processor.

        Raises:
            DistokError: a part is missing or corrupt, or the settings do not fit the model.
        """
        pretrained.check_tokenizer(folder)
        model = loading.load_model(folder, "AutoModel", device, dtype)
        with pretrained.loading(folder):
            from transformers import CLIPProcessor

            processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        return cls(flat_features(model), processor, settings, kind)

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """The one model."""
        return (self.model,)

    def tempered(self, factor: float) -> Labeler:
        """The same reading, flatter by ``factor``; see :class:`Labeler`."""
        if self.reading == "places":  # its temperature acts inside each place, not on the sum
            return super().tempered(factor)
        settings = replace(self.settings, temperature=self.temperature * factor)
        other = type(self)(self.model, self.processor, settings, self.kind)
        other.source = self.source
        return other

    @cached_property
    def hash(self) -> str:
        """A short hash of weights, template, temperature and reading."""
        return loading.hash_of(self.model, f"{self.template}/{self.temperature}/{self.reading}")

    @torch.no_grad()
    def probabilities(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b k"]:
        """softmax(cos / temperature) over the names, of the picture or of its places; see :class:`Labeler`."""
        check_request(pictures, names)
        texts = self._text_features(tuple(names))
        return torch.cat([self._shares(pictures[i : i + BATCH], texts) for i in range(0, len(pictures), BATCH)])

    def _shares(self, pictures: "Sequence[Image.Image]", texts: Float[Tensor, "k e"]) -> Float[Tensor, "b k"]:
        images = [picture.convert("RGB") for picture in pictures]
        device, prepare = self.model.device, self.processor.image_processor
        there = {"device": device} if device.type == "cuda" and loading.is_torchvision(prepare) else {}
        pixels = prepare(images=images, return_tensors="pt", **there)["pixel_values"].to(device, self.model.dtype)
        if self.reading == "places":
            return place_shares(place_features(self.model, pixels), texts, 1 / self.temperature)
        return (image_feature(self.model, pixels) @ texts.T / self.temperature).softmax(-1)

    def _text_features(self, names: tuple[str, ...]) -> Float[Tensor, "k e"]:
        if names not in self._texts:
            captions = [self.template.replace("{}", name) for name in names]
            inputs = self.processor.tokenizer(captions, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
            self._texts[names] = text_feature(self.model, inputs)
        return self._texts[names]


def place_features(model: Any, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b l e"]:
    """The projected feature of every place of a convolutional image tower, not normalised."""
    maps = model.vision_model(pixel_values=pixels).last_hidden_state
    return model.visual_projection(maps.flatten(2).transpose(1, 2)).float()


def place_shares(
    places: Float[Tensor, "b l e"], texts: Float[Tensor, "k e"], scale: float | Float[Tensor, ""]
) -> Float[Tensor, "b k"]:
    """Σ_l ‖f_l‖ softmax_k(scale · cos(f_l, t_k)) / Σ_l ‖f_l‖: each place names a class, and counts by its feature's length.

    A softmax over one feature of the whole picture says which names are true of it; how much of each there is follows from
    adding up its parts, even for a model whose captions never spoke of amounts.
    """
    lengths = places.norm(dim=-1)
    named = (scale * F.normalize(places, dim=-1) @ texts.T).softmax(-1)
    return (named * (lengths / lengths.sum(1, keepdim=True))[..., None]).sum(1)


def flat_features(model: Any) -> Any:
    """Let a dual encoder take a convolutional image tower, whose pooled features transformers leaves as [b, e, 1, 1]."""
    pooler = getattr(getattr(model, "vision_model", None), "pooler", None)
    if isinstance(pooler, torch.nn.AdaptiveAvgPool2d):
        model.vision_model.pooler = torch.nn.Sequential(pooler, torch.nn.Flatten())
    return model


# Not get_image_features, get_text_features: in transformers 4 a dual encoder's give its towers arguments some do not take.
def image_feature(model: Any, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
    """The projected features of pictures by a ``CLIPModel`` or a dual encoder, of length 1."""
    return unit_feature(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output))


def text_feature(model: Any, inputs: Mapping[str, Tensor]) -> Float[Tensor, "b e"]:
    """The projected features of texts by a ``CLIPModel`` or a dual encoder, of length 1."""
    return unit_feature(model.text_projection(model.text_model(**inputs).pooler_output))


def unit_feature(output: Any) -> Float[Tensor, "b e"]:
    """A tower's projected feature at length 1, in single precision."""
    # transformers 5 wraps the feature in an output object, transformers 4 returns it bare.
    return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)
