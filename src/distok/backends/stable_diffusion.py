"""Stable Diffusion 1.x and 2.x, and any checkpoint saved as a ``StableDiffusionPipeline``, the Menagerie included.

Shapes: b prompts, d token width, e feature width.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from distok import files
from distok.backends.base import Condition, RenderDefaults
from distok.backends.encoder import ClipEncoder, TextEncoder
from distok.backends.pipeline import DiffusersBackend
from distok.errors import DistokError


class StableDiffusionBackend(DiffusersBackend):
    """A ``StableDiffusionPipeline``; see :class:`~distok.backends.base.Backend`.

    Args:
        pipe, defaults: see :class:`DiffusersBackend`.
        projection: weight [e, d] from pooled hidden state to text feature; none means the pooled state itself. Stable
            Diffusion's checkpoints leave out the projection of the CLIP they took their encoder from.
    """

    family = "StableDiffusionPipeline"
    own_defaults = RenderDefaults(steps=50, guidance_scale=7.5)

    def __init__(self, pipe: Any, defaults: RenderDefaults | None = None, projection: Float[Tensor, "e d"] | None = None) -> None:
        self._projection = projection
        super().__init__(pipe, defaults)

    @classmethod
    def extras(cls, folder: Path, pipe: Any) -> dict[str, Any]:
        """The projection beside the text encoder, where there is one.

        Raises:
            DistokError: it does not fit.
        """
        return {"projection": _read_projection(folder, pipe.text_encoder.config.hidden_size)}

    @property
    def feature_hash(self) -> str:
        """A short hash of the projection."""
        if self._projection is None:
            return ""
        return hashlib.blake2b(self._projection.detach().float().cpu().numpy().tobytes(), digest_size=8).hexdigest()

    def feature(self, key: str, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """From the hidden state at end-of-text to the normalised text feature."""
        if self._projection is not None:
            pooled = pooled.to(_single(pooled)) @ self._projection.to(pooled.device, _single(pooled)).T
        return super().feature(key, pooled)

    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        return {"text_encoder": ClipEncoder(pipe.text_encoder, pipe.tokenizer)}

    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        encoder, prompts = self.encoders["text_encoder"], self.said(prompts, "text_encoder")
        return {"prompt_embeds": encoder.encode(prompts, tokens["text_encoder"], padded=True).last}

    def _constants(self) -> dict[str, Any]:
        return {"requires_safety_checker": self.pipe.config.requires_safety_checker}


def _single(pooled: Tensor) -> Any:
    import torch

    return torch.promote_types(pooled.dtype, torch.float32)


def _read_projection(folder: Path, width: int) -> Tensor | None:
    path = folder / "text_encoder" / "projection.safetensors"
    if not path.is_file():
        return None
    weight = files.read_tensors(path)[0].get("weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != width:
        raise DistokError(f"{path} must hold one tensor 'weight' of shape [features, {width}]; write it again")
    return weight.float()
