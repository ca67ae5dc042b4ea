"""What all diffusers pipelines share: encoders side by side, batches with a seed a picture, a scheduler of our own.

Shapes: b prompts, n creative tokens, d token width, e feature width.
"""

import hashlib
import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import Backend, Condition, RenderDefaults
from distok.backends.encoder import TextEncoder, update
from distok.backends.loading import load_pipeline, weight_bytes
from distok.errors import DistokError

LOG = logging.getLogger(__name__)
PIXELS = 16 * 256**2  # of a batch: decoding takes some kilobytes for each, 17 GB a tensor for 16 pictures of 1024 x 1024
PIXEL_BYTES = 16_384  # that decoding one takes, of what is free on a GPU


class DiffusersBackend(Backend):
    """A diffusers pipeline behind the common signature; each family says which encoders it has and how it is called.

    Args:
        pipe: the pipeline. Its modules are shared, never changed; move it to its device before.
        defaults: how to render when nothing else is asked; the family's own if None.
    """

    own_defaults = RenderDefaults()
    schedulers: tuple[str, ...] = ("scheduler",)  # parts whose state sampling changes

    def __init__(self, pipe: Any, defaults: RenderDefaults | None = None) -> None:
        self.pipe = pipe
        self.defaults = defaults or self.own_defaults
        self.encoders: dict[str, TextEncoder] = self._encoders(pipe)
        self.widths = {key: encoder.width for key, encoder in self.encoders.items()}
        self._lock = threading.RLock()
        with torch.no_grad():
            self.feature_dim = self.encode([""]).shape[1]

    @classmethod
    def load(cls, folder: Path, family: str, dtype: torch.dtype | None) -> Any:
        """Load the pipeline of a folder whose ``model_index.json`` says ``family``, into main memory."""
        return load_pipeline(folder, family, dtype)

    @classmethod
    def weight_bytes(cls, folder: Path, family: str, dtype: torch.dtype | None) -> dict[str, int]:
        """Bytes that the weights of each part take once :meth:`load` has loaded them; nothing is loaded."""
        return weight_bytes(folder, dtype)

    @classmethod
    def extras(cls, folder: Path, pipe: Any) -> dict[str, Any]:
        """Further arguments of this class that a checkpoint's folder holds."""
        return {}

    @classmethod
    def vocabularies(cls, pipe: Any) -> list[tuple[Any, Any]]:
        """Each tokenizer with the module that owns its embeddings."""
        return [(pipe.tokenizer, pipe.text_encoder)]

    @cached_property
    def hash(self) -> str:
        """A short hash of the text encoders' weights."""
        digest = hashlib.blake2b(digest_size=8)
        for encoder in self.encoders.values():
            update(digest, encoder.module)
        return digest.hexdigest()

    @property
    def device(self) -> torch.device:
        """Where the text encoders are, and where the other parts are when they are called."""
        weight: Tensor = next(iter(self.encoders.values())).table.weight
        return weight.device

    @property
    def dtype(self) -> str:
        """The type of the text encoders' weights."""
        return str(next(iter(self.encoders.values())).table.weight.dtype).removeprefix("torch.")

    @cached_property
    def pipeline_hash(self) -> str:
        """A short hash of all that turns a condition into a picture: every module's weights, the sampler, the defaults."""
        return self._hash_parts(None)

    @cached_property
    def fingerprint(self) -> str:
        """The same of the first numbers of each tensor: quick for gigabytes, and another for every training of a network."""
        return self._hash_parts(64)

    def _hash_parts(self, most: int | None) -> str:
        digest = hashlib.blake2b(repr(self.defaults).encode(), digest_size=8)
        for name, part in sorted(self.pipe.components.items()):
            if isinstance(part, torch.nn.Module):
                update(digest, part, f"{name}.", self.placement.stored.get(name), most)
            elif name.endswith("scheduler"):
                # diffusers notes there which values were not stored, in an order that differs from process to process.
                config = {key: value for key, value in part.config.items() if key != "_use_default_values"}
                digest.update(repr(sorted(config.items())).encode())
        return digest.hexdigest()

    def name_tokens(self, names: Sequence[str]) -> Float[Tensor, "b d"]:
        """The mean of each name's pieces, an encoder after the other; see :class:`Backend`."""
        return torch.cat([encoder.name_tokens(names) for encoder in self.encoders.values()], -1)

    def encode(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "b e"]:
        """E(q); see :class:`Backend`. Prompts are encoded at their real length."""
        parts = self._parts(tokens)
        pooled = [
            self.feature(key, each.encode(self.said(prompts, key), parts[key]).pooled) for key, each in self.encoders.items()
        ]
        return torch.cat(pooled, -1) / len(pooled) ** 0.5

    def said(self, prompts: Sequence[str], key: str) -> list[str]:
        """The prompts as the pipeline gives them to a text encoder: a word that was loaded as several vectors, as all of them."""
        convert = getattr(self.pipe, "maybe_convert_prompt", None)
        return list(prompts) if convert is None else [convert(prompt, self.encoders[key].tokenizer) for prompt in prompts]

    def feature(self, key: str, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """From an encoder's pooled vector to its normalised feature."""
        # Half precision is too coarse for cosines.
        return F.normalize(pooled.to(torch.promote_types(pooled.dtype, torch.float32)), dim=-1)

    def condition(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Condition:
        """What conditions the denoiser, as the pipeline makes it; see :class:`Backend`."""
        return self._condition(prompts, self._parts(tokens))

    def render_pixels(
        self,
        prompts: Sequence[str] | None,
        tokens: Float[Tensor, "n d"] | None = None,
        *,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        size: int | None = None,
        condition: Condition | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures as floats in [0, 1]; see :class:`Backend`."""
        negative_prompt = negative_prompt or None  # "" and None are the same wish, which some pipelines take for two
        asked = {"steps": steps, "guidance_scale": guidance_scale, "size": size}
        how = replace(self.defaults, **{key: value for key, value in asked.items() if value is not None})
        self.check_size(how.size)
        if negative_prompt and not self.heeds_negative(how):
            cause = "this checkpoint has its own distilled into it; give"
            if how.guidance_scale <= 1:
                cause = f"the guidance scale is {how.guidance_scale:g}; give one above 1, or"
            raise DistokError(
                f'a negative prompt acts through guidance, and {cause} no negative prompt (--negative-prompt "" in place of a '
                "recipe's own)"
            )
        given = prompts if condition is None else next(iter(condition.values()))
        count = 0 if given is None else len(given)
        if not count or count != len(seeds):
            raise DistokError(f"{count} prompts and {len(seeds)} seeds; give at least one prompt and one seed for each")
        with self._lock, torch.no_grad():
            pipe = self.renderer()
            pictures = []
            try:
                together = self.together(how.size)
                for start in range(0, count, together):
                    part = slice(start, start + together)
                    batch = self.condition(prompts[part], tokens) if condition is None else _rows(condition, part)
                    progress = counter(callback, start, len(seeds[part]), count, how.steps)
                    pictures.append(self._denoise(pipe, batch, seeds[part], how, negative_prompt, progress).float())
            finally:
                self.placement.leave()
        return numbers_only(torch.cat(pictures), seeds, self.dtype)

    def renderer(self) -> Any:
        """The same modules under a pipeline and schedulers of our own: sampling changes a scheduler's state."""
        parts = dict(self.pipe.components)
        for name in self.schedulers:
            parts[name] = type(parts[name]).from_config(parts[name].config)
        return self._ready(type(self.pipe)(**parts, **self._constants()))

    def _ready(self, pipe: Any) -> Any:
        """A pipeline that is quiet, and that finds its device on the parts that move: text encoders stay and have no hooks."""
        pipe.set_progress_bar_config(disable=True)
        pipe._exclude_from_cpu_offload = [*pipe._exclude_from_cpu_offload, *self.encoders]
        return pipe

    @property
    def own_size(self) -> int:
        """Side in pixels of the pictures that the checkpoint draws where no size is said; the longer one where they differ."""
        network = self.pipe.components.get("unet") or self.pipe.components.get("transformer")
        sample: Any = getattr(self.pipe, "default_sample_size", None) or network.config.sample_size
        return int(sample if isinstance(sample, int) else max(sample)) * int(self.pipe.vae_scale_factor)

    @property
    def size_step(self) -> int:
        """Sides of pictures are multiples of it: others the family's pipeline would refuse, or round without a word."""
        return 1

    def check_size(self, size: int | None) -> None:
        """See :class:`Backend`."""
        if size is not None and size % self.size_step:
            raise DistokError(f"size is {size}, but this pipeline draws multiples of {self.size_step} pixels; correct it")

    def heeds_negative(self, how: RenderDefaults) -> bool:
        """Whether a negative prompt changes a picture: not of a network that has its guidance distilled into it (LCM)."""
        network = self.pipe.components.get("unet")
        distilled = network is not None and network.config.get("time_cond_proj_dim") is not None
        return how.guidance_scale > 1 and not distilled

    def together(self, size: int | None) -> int:
        """See :class:`Backend`."""
        size = size or self.own_size
        device = self.device
        if device.type != "cuda":
            return max(1, min(self.at_once, PIXELS // size**2))
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free -= max((_bytes(part) for part in self.placement.visiting), default=0)  # still to come
        return max(1, min(self.at_once, free // (PIXEL_BYTES * size**2)))

    def _parts(self, tokens: Float[Tensor, "n d"] | None) -> Mapping[str, Tensor | None]:
        return dict.fromkeys(self.encoders) if tokens is None else self.split(tokens)

    def _negative(self, text: str | None, count: int) -> Condition:
        """The condition of a negative prompt, once for each picture."""
        return {key: value.expand(count, *value.shape[1:]) for key, value in self.condition([text or ""]).items()}

    def _constants(self) -> dict[str, Any]:
        """Arguments of the pipeline's class that are not components."""
        return {}

    @abstractmethod
    def _encoders(self, pipe: Any) -> dict[str, TextEncoder]:
        """The pipeline's text encoders by component name, in the order of a token's parts."""

    @abstractmethod
    def _condition(self, prompts: Sequence[str], tokens: Mapping[str, Tensor | None]) -> Condition:
        """Encode prompts as the pipeline's own ``encode_prompt`` does."""

    def _denoise(
        self,
        pipe: Any,
        condition: Condition,
        seeds: Sequence[int],
        how: RenderDefaults,
        negative_prompt: str | None,
        progress: Callable[[int], None] | None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures in [0, 1] of one batch; ``progress`` is told how many steps are done."""
        options = self._guided(condition, how, negative_prompt, len(seeds))
        return self.call(pipe, seeds, how, callback_on_step_end=on_step(progress), **options)

    def _guided(self, condition: Condition, how: RenderDefaults, negative_prompt: str | None, count: int) -> dict[str, Any]:
        """The condition, and where guidance asks for it that of the negative prompt, as the pipeline's arguments."""
        options: dict[str, Any] = {**self._typed(condition), "guidance_scale": how.guidance_scale}
        if how.guidance_scale > 1:
            options |= self._typed(self._negative(negative_prompt, count), "negative_")
        return options

    def _typed(self, condition: Condition, prefix: str = "") -> Condition:
        """A condition in the type of the pipeline's weights, its names under a prefix."""
        dtype = getattr(torch, self.dtype)
        return {f"{prefix}{key}": value.to(dtype) for key, value in condition.items()}

    @staticmethod
    def call(pipe: Any, seeds: Sequence[int], how: RenderDefaults, *prompts: Any, **options: Any) -> Tensor:
        """Run the pipeline with what every family takes."""
        made = pipe(
            *prompts,
            **options,
            generator=generators(seeds),
            num_inference_steps=how.steps,
            height=how.size,
            width=how.size,
            output_type="pt",
        )
        hidden = [seed for seed, flag in zip(seeds, getattr(made, "nsfw_content_detected", None) or (), strict=False) if flag]
        if hidden:
            LOG.warning("the checkpoint's safety checker blackened the pictures of seeds %s", ", ".join(map(str, hidden)))
        return made.images


def _bytes(part: torch.nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in part.parameters())


def _rows(condition: Condition, part: slice) -> Condition:
    return {key: value[part] for key, value in condition.items()}


def numbers_only(pixels: Float[Tensor, "b 3 h w"], seeds: Sequence[int], dtype: str) -> Float[Tensor, "b 3 h w"]:
    """Pixels, with 0 for what is no number; a warning says which seeds' pictures come out black."""
    if lost := [seed for seed, picture in zip(seeds, pixels, strict=True) if not picture.isfinite().all()]:
        LOG.warning(
            "the pictures of seeds %s are no numbers and come out black: damaged weights, or numbers too large for %s",
            ", ".join(map(str, lost)), dtype,
        )  # fmt: skip
    return pixels.nan_to_num(0.0)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator a picture, as diffusers users make them: ``torch.Generator("cpu").manual_seed(seed)``."""
    return [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]


def on_step(progress: Callable[[int], None] | None) -> Any:
    """A pipeline's ``callback_on_step_end`` that only counts."""
    if progress is None:
        return None

    def report(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        progress(step + 1)
        return {}

    return report


def counter(
    callback: Callable[[int, int], None] | None, start: int, part: int, count: int, steps: int
) -> Callable[[int], None] | None:
    """What a batch of ``part`` pictures from place ``start`` of ``count`` tells of its steps; None where nobody listens."""
    # Steps are weighted by the pictures that share them, so the count runs evenly over batches of unequal size.
    if callback is None:
        return None
    # Some schedulers call the network once more than there are steps.
    return lambda done: callback(start * steps + min(done, steps) * part, count * steps)
