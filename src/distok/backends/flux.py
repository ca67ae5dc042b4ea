"""FLUX.1: T5 gives the states, CLIP only a pooled vector.

Shapes: b prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from distok.backends.base import Condition, RenderDefaults
from distok.backends.encoder import ClipEncoder, T5Encoder, TextEncoder
from distok.backends.pipeline import DiffusersBackend

T5_LENGTH = 512  # the pipeline's own default; FLUX.1-schnell was made for 256 and takes 512


class FluxBackend(DiffusersBackend):
    """A ``FluxPipeline``; see :class:`~distok.backends.base.Backend`.

    The guidance scale is the one distilled into FLUX.1-dev; schnell has none and ignores it. A negative prompt is a second
    pass (``true_cfg_scale``): it then takes the guidance scale, and the distilled one stays at 1.
    """

    family = "FluxPipeline"
    own_defaults = RenderDefaults(steps=28, guidance_scale=3.5)

    @classmethod
    def vocabularies(cls, pipe: Any) -> list[tuple[Any, Any]]:
        """Both tokenizers with their encoders."""
        return [(pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)]

    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        return {
            "text_encoder": ClipEncoder(pipe.text_encoder, pipe.tokenizer),
            "text_encoder_2": T5Encoder(pipe.text_encoder_2, pipe.tokenizer_2, T5_LENGTH),
        }

    @property
    def size_step(self) -> int:
        """Latents are packed two by two."""
        return 2 * int(self.pipe.vae_scale_factor)

    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        encoded = {key: each.encode(self.said(prompts, key), tokens[key], padded=True) for key, each in self.encoders.items()}
        return {"prompt_embeds": encoded["text_encoder_2"].last, "pooled_prompt_embeds": encoded["text_encoder"].pooled}

    def _guided(self, condition: Condition, how: RenderDefaults, negative_prompt: str | None, count: int) -> dict[str, Any]:
        options: dict[str, Any] = {**self._typed(condition), "guidance_scale": how.guidance_scale}
        if negative_prompt and how.guidance_scale > 1:
            options |= self._typed(self._negative(negative_prompt, count), "negative_")
            options |= {"true_cfg_scale": how.guidance_scale, "guidance_scale": 1.0}
        return options
