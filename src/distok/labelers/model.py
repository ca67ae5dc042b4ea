"""What the labelers of one transformers model share: parts, batches, and the softmax of their scores.

Shapes: b pictures, k names, n pairs of a picture and a name.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distok.errors import DistokError
from distok.labelers import loading
from distok.labelers.base import Labeler, check_request

if TYPE_CHECKING:
    from PIL import Image

BATCH = 16  # pictures encoded together; bounds memory
PAIRS = 64  # (picture, name) pairs scored together; bounds memory


class ModelLabeler(Labeler):
    """One transformers model whose scores of the names, over a temperature, go through a softmax.

    Args:
        kind: its row in ``KINDS``.
        model: the model, on its device.
        tokenizer: its tokenizer.
        image_processor: its image processor.
        settings: an instance of the kind's settings.
    """

    model_class: ClassVar[str]

    def __init__(self, kind: str, model: Any, tokenizer: Any, image_processor: Any, settings: Any) -> None:
        self.kind, self.model, self.settings = kind, model, settings
        self.tokenizer, self.image_processor = tokenizer, image_processor

    @classmethod
    def load(cls, kind: str, folder: Path, settings: Any, device: str, dtype: torch.dtype) -> "ModelLabeler":
        """Load from a folder with the model, its tokenizer and its image processor.

        Raises:
            DistokError: a part is missing, pickled only or corrupt.
        """
        tokenizer, image_processor = loading.load_tokenizer(folder), loading.load_image_processor(folder)
        model = loading.load_model(folder, cls.model_class, device, dtype)
        return cls(kind, model, tokenizer, image_processor, settings)

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """The one model."""
        return (self.model,)

    @property
    def temperature(self) -> float:
        """What the scores are divided by."""
        return float(self.settings.temperature)

    def tempered(self, factor: float) -> Labeler:
        """The same model, read at ``factor`` times the temperature; see :class:`Labeler`."""
        settings = replace(self.settings, temperature=self.temperature * factor)
        other = type(self)(self.kind, self.model, self.tokenizer, self.image_processor, settings)
        other.source = self.source
        return other

    @cached_property
    def hash(self) -> str:
        """A short hash of kind, settings and weights."""
        return loading.hash_of(self.model, json.dumps([self.kind, self.settings.as_dict()], sort_keys=True))

    @torch.no_grad()
    def probabilities(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b k"]:
        """softmax(score / temperature) over the names; see :class:`Labeler`."""
        return (self.scores(pictures, names) / self.temperature).softmax(-1)

    @torch.no_grad()
    def scores(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b k"]:
        """The score of every name for every picture, in natural-log units, single precision.

        Raises:
            DistokError: no names or no pictures.
        """
        check_request(pictures, names)
        score = self.scorer(names)
        images = [picture.convert("RGB") for picture in pictures]
        return torch.cat([score(images[i : i + BATCH]).float() for i in range(0, len(images), BATCH)])

    @abstractmethod
    def scorer(self, names: Sequence[str]) -> "Callable[[list[Image.Image]], Float[Tensor, 'b k']]":
        """Prepare the names once; the function returned scores them for a batch of RGB pictures."""

    def pixels(self, images: "list[Image.Image]") -> dict[str, Tensor]:
        """The image processor's output on the model's device, in the model's precision."""
        inputs = self.image_processor(images=images, return_tensors="pt").to(self.model.device)
        return {name: _as(tensor, self.model.dtype) for name, tensor in inputs.items()}

    def words(self, texts: Sequence[str], **options: Any) -> Any:
        """The tokens of some texts, padded to the longest, on the model's device.

        Raises:
            DistokError: a text is longer than the model reads.
        """
        limit = self.model.config.text_config.max_position_embeddings
        for text, tokens in zip(texts, self.tokenizer(list(texts))["input_ids"], strict=True):
            if len(tokens) > limit:
                raise DistokError(
                    f"{text[:40]!r}… is {len(tokens)} tokens long, but this labeler reads at most {limit}; shorten it"
                )
        return self.tokenizer(list(texts), **{"padding": True, **options}, return_tensors="pt").to(self.model.device)

    def captions(self, names: Sequence[str]) -> list[str]:
        """Each name in the template."""
        return [self.settings.template.replace("{}", name) for name in names]


def every_pair(
    score: Callable[[Int[Tensor, " n"], Int[Tensor, " n"]], Float[Tensor, " n"]], pictures: int, names: int, device: Any
) -> Float[Tensor, "b k"]:
    """``score(picture numbers, name numbers)`` of every picture with every name, a bounded number at a time."""
    pairs = torch.cartesian_prod(torch.arange(pictures, device=device), torch.arange(names, device=device))
    return torch.cat([score(*chunk.T) for chunk in pairs.split(PAIRS)]).view(pictures, names)


def token_likelihood(
    logits: Float[Tensor, "n t v"], targets: Int[Tensor, "n t"], mask: Int[Tensor, "n t"], likelihood: str
) -> Float[Tensor, " n"]:
    """log p(answer) = Σ_t log p(token t), or its mean over the answer's tokens; ``mask`` is 0 on padding."""
    log_p = logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    total = (log_p * mask).sum(1)
    return total / mask.sum(1) if likelihood == "mean" else total


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
