"""Kandinsky 2.1, the paper's own base: the token enters the prior's CLIP and the decoder's multilingual CLIP.

Shapes: b prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distok.backends.base import Condition, RenderDefaults
from distok.backends.encoder import MultilingualClipEncoder, TextEncoder
from distok.backends.kandinsky2_2 import KandinskyV22Backend


class KandinskyBackend(KandinskyV22Backend):
    """A ``KandinskyCombinedPipeline``, or a ``KandinskyPipeline`` with its prior beside it."""

    family = "KandinskyCombinedPipeline"
    decoder_class = "KandinskyPipeline"
    prior_class = "KandinskyPriorPipeline"
    own_defaults = RenderDefaults(steps=100, guidance_scale=4.0, size=512, prior_steps=25, prior_guidance_scale=4.0)

    @classmethod
    def vocabularies(cls, pipe: Any) -> list[tuple[Any, Any]]:
        """Both tokenizers with the modules that own their embeddings."""
        return [*super().vocabularies(pipe), (pipe.tokenizer, pipe.text_encoder.transformer)]

    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        return {**super()._encoders(pipe), "text_encoder": MultilingualClipEncoder(pipe.text_encoder, pipe.tokenizer)}

    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        decoder = self.encoders["text_encoder"].encode(prompts, tokens["text_encoder"], padded=True)
        said = {"text_embeds": decoder.pooled, "text_states": decoder.last, "text_mask": decoder.mask.to(decoder.last.dtype)}
        return {**super()._condition(prompts, tokens), **said}

    def _decoder(
        self, pipe: Any, condition: Condition, count: int, how: RenderDefaults, negative: str | None, progress: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parts = [self._negative(negative, count), condition] if how.guidance_scale > 1 else [condition]
        # This decoder takes prompts alone, so what they were encoded to is handed over where it would encode them.
        said = tuple(torch.cat([part[key] for part in parts]) for key in ("text_embeds", "text_states", "text_mask"))
        pipe._encode_prompt = lambda *args, **kwargs: said
        report = None if progress is None else lambda step, timestep, latents: progress(step + 1)
        return ([""] * count,), {"callback": report}
