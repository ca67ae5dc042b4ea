"""Stable Diffusion XL: two CLIP text encoders, whose states lie side by side; the second also gives the pooled vector.

Shapes: b prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distok.backends.base import Condition, RenderDefaults
from distok.backends.encoder import ClipEncoder, TextEncoder
from distok.backends.pipeline import DiffusersBackend


class StableDiffusionXLBackend(DiffusersBackend):
    """A ``StableDiffusionXLPipeline``; see :class:`~distok.backends.base.Backend`."""

    family = "StableDiffusionXLPipeline"
    own_defaults = RenderDefaults(steps=50, guidance_scale=5.0)

    @classmethod
    def vocabularies(cls, pipe: Any) -> list[tuple[Any, Any]]:
        """Both tokenizers with their encoders."""
        return [(pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)]

    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        return {
            "text_encoder": ClipEncoder(pipe.text_encoder, pipe.tokenizer),
            "text_encoder_2": ClipEncoder(pipe.text_encoder_2, pipe.tokenizer_2),
        }

    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        encoded = [each.encode(self.said(prompts, key), tokens[key], padded=True) for key, each in self.encoders.items()]
        states = [each.penultimate for each in encoded if each.penultimate is not None]
        return {"prompt_embeds": torch.cat(states, -1), "pooled_prompt_embeds": encoded[-1].pooled}

    def _constants(self) -> dict[str, Any]:
        config = self.pipe.config
        return {"force_zeros_for_empty_prompt": config.force_zeros_for_empty_prompt, "add_watermarker": False}

    def _negative(self, text: str | None, count: int) -> Condition:
        negative = super()._negative(text, count)
        if text is None and self.pipe.config.force_zeros_for_empty_prompt:
            return {key: torch.zeros_like(value) for key, value in negative.items()}
        return negative
