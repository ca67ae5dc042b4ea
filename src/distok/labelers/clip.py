"""CLIP as a labeler: cosines of a picture with "a photo of a <name>", sharpened by a temperature.

Shapes: b pictures, k names, e feature width, l places of a picture.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.base import Labeler

if TYPE_CHECKING:
    from PIL import Image

TEMPLATE = "a photo of a {}"
BATCH = 64  # pictures read together; bounds memory
READINGS = ("whole", "places")


class ClipLabeler(Labeler):
    """A transformers ``CLIPModel``, or a ``VisionTextDualEncoderModel`` (any image tower), read zero-shot.

    Args:
        model: the model, in single precision on its device.
        processor: its ``CLIPProcessor``.
        template: the caption of a name; must hold ``{}``.
        temperature: cosines are divided by it before the softmax; the model's own learned scale if None.
        reading: "whole" compares one feature of the picture with the names (CLIP's own way); "places" lets every place of a
            convolutional tower name a class and adds up, see :func:`place_shares`; for models that were trained so.
    """

    def __init__(
        self, model: Any, processor: Any, template: str = TEMPLATE, temperature: float | None = None, reading: str = "whole"
    ) -> None:
        if not isinstance(template, str) or "{}" not in template:
            raise DistokError(f"the labeler's template is {template!r}; write {{}} where the name goes, as in {TEMPLATE!r}")
        if temperature is None:
            temperature = math.exp(-model.logit_scale.item())
        if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise DistokError(f"the labeler's temperature is {temperature!r}; give a finite number above 0, such as 0.01")
        if reading not in READINGS:
            raise DistokError(f"the labeler's reading is {reading!r}; choose one of {', '.join(READINGS)}")
        if reading == "places" and getattr(model.config.vision_config, "model_type", None) != "resnet":
            raise DistokError('a reading by places needs a ResNet as image tower; set "reading" to "whole" in labeler.json')
        self.model, self.processor = model.eval(), processor
        self.template, self.temperature, self.reading = template, temperature, reading
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @classmethod
    def load(cls, folder: Path, settings: Mapping[str, Any], device: str = "cpu") -> "ClipLabeler":
        """Load from a folder with the model, its tokenizer and its image processor; ``settings`` is ``labeler.json``.

        Raises:
            DistokError: a part is missing or corrupt, or a setting is out of range.
        """
        pretrained.check_weights(folder)
        pretrained.check_tokenizer(folder)
        with pretrained.loading(folder):
            from transformers import AutoModel, CLIPProcessor

            model = flat_features(
                AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().to(device)
            )
            processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        how = {key: settings[key] for key in ("template", "temperature", "reading") if key in settings}
        return cls(model, processor, **how)

    @cached_property
    def hash(self) -> str:
        """A short hash of weights, template, temperature and reading."""
        digest = hashlib.blake2b(f"{self.template}/{self.temperature}/{self.reading}".encode(), digest_size=8)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    @torch.no_grad()
    def probabilities(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b k"]:
        """softmax(cos / temperature) over the names, of the picture or of its places; see :class:`Labeler`."""
        if not pictures or not names:
            raise DistokError(f"{len(pictures)} pictures and {len(names)} names; give at least one of each")
        texts = self._text_features(tuple(names))
        return torch.cat([self._shares(pictures[i : i + BATCH], texts) for i in range(0, len(pictures), BATCH)])

    def _shares(self, pictures: "Sequence[Image.Image]", texts: Float[Tensor, "k e"]) -> Float[Tensor, "b k"]:
        images = [picture.convert("RGB") for picture in pictures]
        pixels = self.processor.image_processor(images=images, return_tensors="pt").to(self.model.device)["pixel_values"]
        if self.reading == "places":
            return place_shares(place_features(self.model, pixels), texts, 1 / self.temperature)
        feature = _feature(self.model.get_image_features(pixel_values=pixels))
        return (feature @ texts.T / self.temperature).softmax(-1)

    def _text_features(self, names: tuple[str, ...]) -> Float[Tensor, "k e"]:
        if names not in self._texts:
            captions = [self.template.replace("{}", name) for name in names]
            inputs = self.processor.tokenizer(captions, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
            self._texts[names] = _feature(self.model.get_text_features(**inputs))
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


def _feature(output: Any) -> Float[Tensor, "b e"]:
    # transformers 5 wraps the feature in an output object, transformers 4 returns it bare.
    return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)
