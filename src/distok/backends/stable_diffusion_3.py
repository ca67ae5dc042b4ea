"""Stable Diffusion 3 and 3.5: two CLIP text encoders side by side, then T5 behind them along the sequence, where there is one.

Shapes: b prompts, l positions, w width of the transformer's text input.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distok.backends.base import Condition, RenderDefaults
from distok.backends.encoder import ClipEncoder, T5Encoder, TextEncoder
from distok.backends.pipeline import DiffusersBackend

T5_LENGTH = 256  # the pipeline's own default


class StableDiffusion3Backend(DiffusersBackend):
    """A ``StableDiffusion3Pipeline``; see :class:`~distok.backends.base.Backend`.

    A checkpoint without T5 takes two vectors a token, one with T5 three.
    """

    family = "StableDiffusion3Pipeline"
    own_defaults = RenderDefaults(steps=28, guidance_scale=7.0)

    @classmethod
    def vocabularies(cls, pipe: Any) -> list[tuple[Any, Any]]:
        """The tokenizers with their encoders; T5 may be missing."""
        parts = [(pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)]
        return parts if pipe.text_encoder_3 is None else [*parts, (pipe.tokenizer_3, pipe.text_encoder_3)]

    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        length = pipe.tokenizer.model_max_length  # the pipeline pads both CLIPs to the first tokenizer's length
        encoders: dict[str, TextEncoder] = {
            "text_encoder": ClipEncoder(pipe.text_encoder, pipe.tokenizer, length),
            "text_encoder_2": ClipEncoder(pipe.text_encoder_2, pipe.tokenizer_2, length),
        }
        if pipe.text_encoder_3 is not None:
            encoders["text_encoder_3"] = T5Encoder(pipe.text_encoder_3, pipe.tokenizer_3, T5_LENGTH)
        return encoders

    @property
    def size_step(self) -> int:
        """The transformer's patches are not cut."""
        return int(self.pipe.vae_scale_factor) * int(self.pipe.patch_size)

    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        encoded = {key: each.encode(prompts, tokens[key], padded=True) for key, each in self.encoders.items()}
        pair = [encoded["text_encoder"], encoded["text_encoder_2"]]
        clip = torch.cat([each.penultimate for each in pair if each.penultimate is not None], -1)
        if "text_encoder_3" in encoded:
            t5 = encoded["text_encoder_3"].last
        else:
            # Zeros, of as many positions as this release of diffusers takes.
            t5 = self.pipe._get_t5_prompt_embeds(list(prompts), max_sequence_length=T5_LENGTH).to(clip)
        clip = F.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        return {
            "prompt_embeds": torch.cat([clip, t5], 1),
            "pooled_prompt_embeds": torch.cat([each.pooled for each in pair], -1),
        }
