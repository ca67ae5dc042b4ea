"""The one signature of every number that is given to a picture: pictures and prompts in, one float each out.

Shapes: b pictures.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from distok.errors import DistokError

if TYPE_CHECKING:
    from PIL import Image

DTYPES = ("float32", "bfloat16", "float16")


class MissingWeightsError(DistokError):
    """A scorer cannot be had because its weights are not on this disk; the text ends in the remedy."""


class NotFiniteError(DistokError):
    """A number cannot be had because it, or what it is made from, is infinite or no number; the text ends in the remedy."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not finite; use dtype float32, or copy the weights again")


@dataclass(frozen=True)
class Missing:
    """What a table shows in place of a score that cannot be had: never a zero, never an empty cell."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"missing: {self.reason}"


@dataclass(frozen=True)
class Scale:
    """How to read a score: the ends of its range, and whether more is better."""

    low: float
    high: float
    higher_is_better: bool = True

    @property
    def arrow(self) -> str:
        """↑ where more is better, else ↓."""
        return "↑" if self.higher_is_better else "↓"


@dataclass(frozen=True)
class ScorerSettings:
    """Where and how a scorer computes.

    Attributes:
        device: "cpu", "cuda" or "cuda:1".
        dtype: of the weights; features are compared in single precision in any case.
        batch: pictures scored together; bounds memory and changes no score.
    """

    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with."""
        if self.dtype not in DTYPES:
            raise DistokError(f"a scorer's dtype is {self.dtype!r}; choose one of {', '.join(DTYPES)}")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise DistokError(f"a scorer's batch is {self.batch!r}; give a whole number of at least 1, such as 16")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch has it."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


class Scorer(ABC):
    """One number a picture.

    Attributes:
        name: as in tables.
        scale: range and direction.
        needs_prompt: whether the score says how well the picture fits a prompt; else prompts are not looked at.
        settings: device, dtype, batch.
    """

    name: str
    scale: Scale
    needs_prompt: bool = True
    settings: ScorerSettings = ScorerSettings()

    @property
    @abstractmethod
    def hash(self) -> str:
        """A short hash of the weights and settings that decide a score."""

    @abstractmethod
    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        """Score one batch of RGB pictures, a prompt each; prompts are empty texts where none is needed."""

    @torch.no_grad()
    def __call__(self, pictures: "Sequence[Image.Image]", prompts: str | Sequence[str] | None = None) -> Float[Tensor, " b"]:
        """Score pictures, each with its prompt, or all with the same one; in single precision, on the CPU.

        A score depends on its own picture and prompt alone, not on the batch.

        Raises:
            NotFiniteError: a score is infinite or no number.
            DistokError: no picture, a missing or empty prompt, or as many prompts as pictures are not.
        """
        texts = self._check(pictures, prompts)
        step = self.settings.batch
        parts = []
        for start in range(0, len(pictures), step):
            images = [picture.convert("RGB") for picture in pictures[start : start + step]]
            parts.append(self._score(images, texts[start : start + step]).float().cpu())
        scores = torch.cat(parts)
        if not scores.isfinite().all():
            raise NotFiniteError(f"{self.name} of picture {int(scores.isfinite().int().argmin()) + 1} of {len(scores)}")
        return scores

    def _check(self, pictures: "Sequence[Image.Image]", prompts: str | Sequence[str] | None) -> list[str]:
        if len(pictures) == 0:
            raise DistokError(f"{self.name} got no picture; give at least one")
        if not self.needs_prompt:
            return [""] * len(pictures)
        if prompts is None:
            raise DistokError(f"{self.name} compares a picture with a prompt; give one, or one for each picture")
        texts = [prompts] * len(pictures) if isinstance(prompts, str) else list(prompts)
        if len(texts) != len(pictures):
            raise DistokError(f"{self.name} got {len(pictures)} pictures and {len(texts)} prompts; give one for all or one each")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise DistokError(f"{self.name} got the prompt {text!r}; give a text that is not empty")
        return texts
