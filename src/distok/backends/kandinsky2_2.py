"""Kandinsky 2.2: the token enters the prior's text encoder; the decoder sees only the picture embedding the prior makes.

Shapes: b prompts, e embedding width.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import Condition, RenderDefaults
from distok.backends.encoder import ClipEncoder, TextEncoder
from distok.backends.kandinsky_prior import prior_condition, prior_seeds, sample_prior, zero_embedding
from distok.backends.loading import check_parts, load_pipeline, weight_bytes
from distok.backends.pipeline import DiffusersBackend, on_step
from distok.errors import DistokError


class KandinskyV22Backend(DiffusersBackend):
    """A ``KandinskyV22CombinedPipeline``, or a ``KandinskyV22Pipeline`` with its prior beside it."""

    family = "KandinskyV22CombinedPipeline"
    decoder_class = "KandinskyV22Pipeline"
    prior_class = "KandinskyV22PriorPipeline"
    own_defaults = RenderDefaults(steps=50, guidance_scale=4.0, size=512, prior_steps=25, prior_guidance_scale=4.0)

    @classmethod
    def load(cls, folder: Path, family: str, dtype: torch.dtype | None) -> Any:
        """Load the combined pipeline, or put a decoder and the prior beside it together.

        Raises:
            DistokError: a decoder without a prior, or a part cannot be loaded.
        """
        if family == cls.family:
            return load_pipeline(folder, family, dtype)
        import diffusers

        prior_folder = find_prior(folder)
        check_parts(prior_folder)
        decoder = load_pipeline(folder, cls.decoder_class, dtype)
        prior = load_pipeline(prior_folder, cls.prior_class, dtype)
        parts = {f"prior_{name}": part for name, part in prior.components.items()}
        return getattr(diffusers, cls.family)(**decoder.components, **parts)

    @classmethod
    def weight_bytes(cls, folder: Path, family: str, dtype: torch.dtype | None) -> dict[str, int]:
        """Those of the prior beside a decoder too, under the names that they have in the combined pipeline."""
        sizes = super().weight_bytes(folder, family, dtype)
        if family != cls.family:
            sizes |= {f"prior_{name}": size for name, size in weight_bytes(find_prior(folder), dtype).items()}
        return sizes

    @classmethod
    def vocabularies(cls, pipe: Any) -> list[tuple[Any, Any]]:
        """The prior's tokenizer with its encoder."""
        return [(pipe.prior_tokenizer, pipe.prior_text_encoder)]

    def image_embeds(
        self,
        condition: Condition,
        seeds: Sequence[int],
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Float[Tensor, "b e"]:
        """What the decoder draws, one seed a picture; differentiable in the condition, and so in creative tokens."""
        scheduler = type(self.pipe.prior_scheduler).from_config(self.pipe.prior_scheduler.config)
        steps = self.defaults.prior_steps if steps is None else steps
        scale = self.defaults.prior_guidance_scale if guidance_scale is None else guidance_scale
        mine = {key: value for key, value in condition.items() if key.startswith("prior_")}
        with torch.no_grad():
            empty = self._negative(negative_prompt, len(seeds))
        return sample_prior(self.pipe.prior_prior, scheduler, mine, empty, seeds, steps, scale)

    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        length = pipe.prior_tokenizer.model_max_length
        return {"prior_text_encoder": ClipEncoder(pipe.prior_text_encoder, pipe.prior_tokenizer, length)}

    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        key = "prior_text_encoder"
        return prior_condition(self.encoders[key].encode(prompts, tokens[key], padded=True))

    def renderer(self) -> Any:
        """The decoder alone, over the same modules, with a scheduler of its own."""
        import diffusers

        cls = getattr(diffusers, self.decoder_class)
        parts = {name: part for name, part in self.pipe.components.items() if not name.startswith("prior_")}
        parts["scheduler"] = type(parts["scheduler"]).from_config(parts["scheduler"].config)
        return self._ready(cls(**parts))

    @property
    def size_step(self) -> int:
        """The decoder's latents are a multiple of its own factor on a side."""
        return 4 ** (len(self.pipe.movq.config.block_out_channels) - 1)

    def heeds_negative(self, how: RenderDefaults) -> bool:
        """The prior has a guidance of its own."""
        return super().heeds_negative(how) or how.prior_guidance_scale > 1

    def _embeddings(self, condition: Condition, seeds: Sequence[int], how: RenderDefaults, negative: str | None) -> Any:
        """Picture embeddings of the prompts, and of what to stay away from."""
        seeds = prior_seeds(seeds)
        options = {"steps": how.prior_steps, "guidance_scale": how.prior_guidance_scale}
        wanted = self.image_embeds(condition, seeds, negative, **options)
        if negative is None:
            return wanted, zero_embedding(self.pipe.prior_image_encoder, len(seeds), wanted.device).to(wanted)
        return wanted, self.image_embeds(self._negative(negative, len(seeds)), seeds, negative, **options)

    def _denoise(
        self,
        pipe: Any,
        condition: Condition,
        seeds: Sequence[int],
        how: RenderDefaults,
        negative_prompt: str | None,
        progress: Callable[[int], None] | None,
    ) -> Tensor:
        wanted, unwanted = self._embeddings(condition, seeds, how, negative_prompt)
        prompts, options = self._decoder(pipe, condition, len(seeds), how, negative_prompt, progress)
        options |= {"image_embeds": wanted, "negative_image_embeds": unwanted, "guidance_scale": how.guidance_scale}
        picture = self.call(pipe, seeds, how, *prompts, **options)
        return (picture * 0.5 + 0.5).clamp(0, 1)  # this family's "pt" is the decoder's own range

    def _decoder(
        self, pipe: Any, condition: Condition, count: int, how: RenderDefaults, negative: str | None, progress: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What this decoder takes beside the picture's embedding."""
        return (), {"callback_on_step_end": on_step(progress)}


def find_prior(folder: Path) -> Path:
    """The prior of a decoder's folder: ``NAME-prior`` beside it, or the cached hub id of that name.

    NAME is that of the decoder, without the ``-decoder`` that published ones of 2.2 end with.

    Raises:
        DistokError: there is none.
    """
    from distok.pretrained import local_folder

    folder = Path(os.path.abspath(folder))  # "." has no name; links stay, since the hub's cache is made of them
    beside = [folder.with_name(name) for name in _prior_names(folder.name)]
    for path in beside:
        if path.is_dir():
            return path
    # In the hub's cache a folder is models--ORG--NAME/snapshots/REVISION.
    repository = folder.parents[1].name if len(folder.parents) > 1 else ""
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        *others, name = _prior_names(repository.removeprefix("models--").replace("--", "/"))
        for other in others:
            with suppress(DistokError):
                return local_folder(other, "model_index.json", "prior")
        return local_folder(name, "model_index.json", "prior")
    raise DistokError(f"{folder} is a decoder without its prior; put the prior beside it, in {beside[-1]}")


def _prior_names(decoder: str) -> list[str]:
    """The usual one last."""
    return list(dict.fromkeys((f"{decoder}-prior", decoder.removesuffix("-decoder") + "-prior")))
