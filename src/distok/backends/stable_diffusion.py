"""Stable Diffusion 1.x and 2.x, and any checkpoint saved as a ``StableDiffusionPipeline``, the Menagerie included.

Shapes: b prompts, n creative tokens, d token width, e feature width, L prompt length, D = d hidden width.
"""

import copy
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distok import files, pretrained
from distok.backends.base import SLOT, Backend
from distok.backends.splice import frozen_view, splice
from distok.errors import DistokError

PLACEHOLDER = "<tcrt>"  # the one extra name in the private tokenizer; each occurrence is then numbered
BATCH = 16  # pictures denoised together; bounds memory and changes no picture


@dataclass(frozen=True)
class RenderDefaults:
    """How a checkpoint wants to be rendered, from ``distok.json`` in its folder; the pipeline's own defaults otherwise."""

    steps: int = 50  # default of StableDiffusionPipeline
    guidance_scale: float = 7.5  # default of StableDiffusionPipeline
    size: int | None = None  # pixels; None is the U-Net's sample size times the VAE's scale

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise DistokError(f"steps is {self.steps!r}, but denoising takes a whole number of at least 1; correct it")
        if not isinstance(self.guidance_scale, int | float) or not 0 <= self.guidance_scale <= 100:
            raise DistokError(f"guidance_scale is {self.guidance_scale!r}, but a number from 0 to 100 is expected; correct it")
        if self.size is not None and (not isinstance(self.size, int) or self.size < 8 or self.size % 8):
            raise DistokError(f"size is {self.size!r}, but a multiple of 8 pixels is expected; correct it")


class StableDiffusionBackend(Backend):
    """A ``StableDiffusionPipeline`` behind the common signature; see :class:`Backend`.

    Args:
        pipe: the pipeline. Its modules are shared, never changed; move it to its device before.
        defaults: how to render when nothing else is asked.
        projection: weight [e, d] from pooled hidden state to text feature; none means the pooled state itself.
    """

    family = "StableDiffusionPipeline"

    def __init__(self, pipe: Any, defaults: RenderDefaults | None = None, projection: Float[Tensor, "e d"] | None = None) -> None:
        self.pipe = pipe
        self.defaults = defaults or RenderDefaults()
        self._encoder = frozen_view(pipe.text_encoder)
        self._tokenizer = copy.deepcopy(pipe.tokenizer)
        self._tokenizer.add_tokens(PLACEHOLDER)
        self._placeholder = self._tokenizer.convert_tokens_to_ids(PLACEHOLDER)
        self._table = self._encoder.get_input_embeddings()
        self._length = min(self._tokenizer.model_max_length, self._encoder.config.max_position_embeddings)
        self._projection = projection
        self._ids: dict[str, tuple[int, ...]] = {}
        self._lock = threading.RLock()  # splicing and the scheduler's state admit one caller at a time
        self.token_dim = self._table.embedding_dim
        self.feature_dim = self.token_dim if projection is None else len(projection)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> "StableDiffusionBackend":
        """Load a pipeline folder whose ``model_index.json`` names this family.

        Raises:
            DistokError: a part is missing or corrupt; the message names it.
        """
        _check_parts(folder)
        with pretrained.loading(folder):
            from diffusers import StableDiffusionPipeline

            pipe = StableDiffusionPipeline.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
            )
            pipe = pipe.to(device) if dtype is None else pipe.to(device, dtype)
        rows = pipe.text_encoder.get_input_embeddings().num_embeddings
        if not 2 < len(pipe.tokenizer) <= rows:
            raise DistokError(
                f"{folder}: a tokenizer of {len(pipe.tokenizer)} ids does not fit an embedding of {rows}; copy it again"
            )
        return cls(pipe, _read_defaults(folder), _read_projection(folder, pipe.text_encoder.config.hidden_size))

    @cached_property
    def hash(self) -> str:
        """A short hash of the text encoder's weights."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self._encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    @torch.no_grad()
    def name_tokens(self, names: Sequence[str]) -> Float[Tensor, "b d"]:
        """The mean of each name's pieces in the input embedding table; see :class:`Backend`."""
        tokens = []
        for name in names:
            ids = self._tokenizer(name, add_special_tokens=False).input_ids
            if not ids:
                raise DistokError(f"the class name {name!r} has no letters the text encoder knows; rename it")
            tokens.append(self._table.weight[ids].float().mean(0))
        return torch.stack(tokens)

    def encode(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "b e"]:
        """E(q); see :class:`Backend`. Positions after end-of-text never reach it (the encoder is causal), so they are cut."""
        rows = [self.token_ids(prompt) for prompt in prompts]
        hidden = self._hidden(self._batch(rows, max(map(len, rows))), tokens)
        # Pooled at the end-of-text position itself: pooling by the largest id would pick a creative token.
        ends = torch.tensor([len(row) - 1 for row in rows], device=hidden.device)
        return self.project(hidden[torch.arange(len(rows), device=hidden.device), ends])

    def project(self, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """From the hidden state at end-of-text to the normalised text feature."""
        pooled = pooled.to(torch.promote_types(pooled.dtype, torch.float32))  # half precision is too coarse for cosines
        return F.normalize(pooled if self._projection is None else pooled @ self._projection.to(pooled).T, dim=-1)

    def prompt_embeds(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "b L D"]:
        """The hidden states as the pipeline makes them; see :class:`Backend`."""
        return self._hidden(self._batch([self.token_ids(prompt) for prompt in prompts], self._length), tokens)

    def token_ids(self, prompt: str) -> tuple[int, ...]:
        """The ids of a prompt, start and end included, cut as the pipeline cuts; ``<tcrt_i>`` is ``rows of the table + i``."""
        if prompt not in self._ids:
            slots = [int(index) for index in SLOT.findall(prompt)]
            text = self.pipe.maybe_convert_prompt(SLOT.sub(PLACEHOLDER, prompt), self._tokenizer)
            ids = self._tokenizer(text, truncation=True, max_length=self._length).input_ids
            if ids.count(self._placeholder) != len(slots):
                raise DistokError(f"the prompt {prompt!r} is too long: its concept falls past {self._length} tokens; shorten it")
            numbers = iter(slots)
            row = (self._table.num_embeddings + next(numbers) if i == self._placeholder else i for i in ids)
            self._ids[prompt] = tuple(row)
        return self._ids[prompt]

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
        prompt_embeds: Float[Tensor, "b L D"] | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures as floats in [0, 1]; see :class:`Backend`."""
        how = RenderDefaults(
            self.defaults.steps if steps is None else steps,
            self.defaults.guidance_scale if guidance_scale is None else guidance_scale,
            self.defaults.size if size is None else size,
        )
        count = (
            len(prompts) if prompt_embeds is None and prompts is not None else 0 if prompt_embeds is None else len(prompt_embeds)
        )
        if not count or count != len(seeds):
            raise DistokError(f"{count} prompts and {len(seeds)} seeds; give at least one prompt and one seed for each")
        with self._lock, torch.no_grad():
            pipe = self._renderer()
            pictures = []
            for start in range(0, count, BATCH):
                part = slice(start, start + BATCH)
                embeds = self.prompt_embeds(prompts[part], tokens) if prompt_embeds is None else prompt_embeds[part]
                ends = _progress(callback, start, len(embeds), count, how.steps)
                pictures.append(self._denoise(pipe, embeds, seeds[part], how, negative_prompt, ends))
        return torch.cat(pictures)

    def _denoise(
        self, pipe: Any, embeds: Tensor, seeds: Sequence[int], how: RenderDefaults, negative_prompt: str | None, progress: Any
    ) -> Tensor:
        negative = self.prompt_embeds([negative_prompt or ""]).expand_as(embeds) if how.guidance_scale > 1 else None
        return pipe(
            prompt_embeds=embeds.to(self._table.weight.dtype),
            negative_prompt_embeds=negative,
            generator=[torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds],
            num_inference_steps=how.steps,
            guidance_scale=how.guidance_scale,
            height=how.size,
            width=how.size,
            output_type="pt",
            callback_on_step_end=progress,
        ).images.float()

    def _renderer(self) -> Any:
        # The same modules under a pipeline and a scheduler of our own: sampling changes a scheduler's state.
        scheduler = type(self.pipe.scheduler).from_config(self.pipe.scheduler.config)
        parts = {**self.pipe.components, "scheduler": scheduler}
        pipe = type(self.pipe)(**parts, requires_safety_checker=self.pipe.config.requires_safety_checker)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _batch(self, rows: Sequence[tuple[int, ...]], length: int) -> Int[Tensor, "b l"]:
        pad = self._tokenizer.pad_token_id
        return torch.tensor([row + (pad,) * (length - len(row)) for row in rows], device=self._table.weight.device)

    def _hidden(self, ids: Int[Tensor, "b l"], tokens: Float[Tensor, "n d"] | None) -> Float[Tensor, "b l d"]:
        needed = int(ids.max()) - self._table.num_embeddings + 1
        given = 0 if tokens is None else len(tokens)
        if needed > given:
            raise DistokError(f"a prompt names <tcrt_{needed - 1}>, but {given} creative tokens are given; give {needed}")
        if tokens is not None and tokens.shape[1:] != (self.token_dim,):
            raise DistokError(f"creative tokens of width {tokens.shape[-1]} do not fit this text encoder's {self.token_dim}")
        # Only encoders trained with a mask get one, exactly as the pipeline does.
        mask = (
            (ids != self._tokenizer.pad_token_id).long() if getattr(self._encoder.config, "use_attention_mask", False) else None
        )
        with self._lock, splice(self._encoder, None if tokens is None else tokens.to(ids.device)) as encoder:
            return encoder(ids, attention_mask=mask)[0]


def _progress(callback: Callable[[int, int], None] | None, start: int, part: int, count: int, steps: int) -> Any:
    # Steps are weighted by the pictures that share them, so the count runs evenly over batches of unequal size.
    if callback is None:
        return None

    def on_step(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        callback(start * steps + (step + 1) * part, count * steps)
        return {}

    return on_step


def _check_parts(folder: Path) -> None:
    for name, kind in pretrained.read_json(folder / "model_index.json").items():
        if not isinstance(kind, list) or not any(kind):
            continue
        if not (folder / name).is_dir():
            raise DistokError(f"{folder / name} is missing; copy the whole checkpoint again")
        if name == "tokenizer":
            pretrained.check_tokenizer(folder / name)
        elif name not in ("scheduler", "feature_extractor"):
            pretrained.check_weights(folder / name)


def _read_defaults(folder: Path) -> RenderDefaults:
    path = folder / "distok.json"
    stored = pretrained.read_json(path) if path.is_file() else {}
    try:
        return RenderDefaults(**{key: stored[key] for key in ("steps", "guidance_scale", "size") if key in stored})
    except DistokError as error:
        raise DistokError(f"{path}: {error}") from None


def _read_projection(folder: Path, width: int) -> Tensor | None:
    path = folder / "text_encoder" / "projection.safetensors"
    if not path.is_file():
        return None
    weight = files.read_tensors(path)[0].get("weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != width:
        raise DistokError(f"{path} must hold one tensor 'weight' of shape [features, {width}]; write it again")
    return weight.float()
