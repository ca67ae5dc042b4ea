"""One frozen text encoder of a pipeline with its tokenizer: prompts in, hidden states and features out.

Shapes: b prompts, n creative tokens, l positions, d width of the input embeddings, e feature width.
"""

import copy
import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distok.asking import PLACE
from distok.backends.prompts import SLOT, emphasis
from distok.backends.splice import frozen_view, splice
from distok.errors import DistokError


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a batch of prompts.

    Attributes:
        last: hidden states of the last layer, after its norm.
        penultimate: those of the layer before, which some denoisers were trained with; None where a class has no such use.
        pooled: one vector a prompt.
        mask: 1 where a position belongs to the prompt.
    """

    last: Float[Tensor, "b l d"]
    penultimate: Float[Tensor, "b l d"] | None
    pooled: Float[Tensor, "b e"]
    mask: Int[Tensor, "b l"]


def update(
    digest: "hashlib.blake2b",
    module: torch.nn.Module,
    prefix: str = "",
    stored: Mapping[str, Tensor] | None = None,
    most: int | None = None,
) -> None:
    """Add a module's weights to a hash, or those that are stored for it elsewhere; of each tensor at most ``most`` numbers."""
    for name, tensor in sorted((module.state_dict() if stored is None else stored).items()):
        # A CLIPTextModel of transformers 4 names its weights with this prefix, one of transformers 5 without.
        bare = name.removeprefix("text_model.") if type(module).__name__ == "CLIPTextModel" else name
        digest.update(f"{prefix}{bare}".encode())
        flat = tensor.detach().reshape(-1)[:most]
        digest.update(flat.contiguous().cpu().view(torch.uint8).numpy())


class TextEncoder(ABC):
    """A frozen view of a text encoder. Its module, tokenizer and flags stay the pipeline's own; only the view is spliced.

    Args:
        module: the pipeline's encoder.
        tokenizer: its tokenizer.
        length: positions a prompt is cut and padded to; the tokenizer's and the encoder's own maximum if None.
    """

    def __init__(self, module: Any, tokenizer: Any, length: int | None = None) -> None:
        from tokenizers import AddedToken

        self.module = frozen_view(module)
        self.tokenizer = copy.deepcopy(tokenizer)
        # Stripped on the left: a sentencepiece vocabulary would else put a lone space before it.
        self.tokenizer.add_tokens(AddedToken(PLACE, lstrip=True, normalized=False))
        self._placeholder = self.tokenizer.convert_tokens_to_ids(PLACE)
        self.table = self.spliced.get_input_embeddings()
        self.length = length or self._longest()
        self._ids: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {}
        self._lock = threading.RLock()  # a spliced module admits one caller at a time

    @property
    def spliced(self) -> Any:
        """The module that owns the input embeddings."""
        return self.module

    @property
    def width(self) -> int:
        """d, the width of an input embedding."""
        return int(self.table.embedding_dim)

    @torch.no_grad()
    def name_tokens(self, names: Sequence[str]) -> Float[Tensor, "b d"]:
        """The mean of each name's pieces in the input embedding table.

        Raises:
            DistokError: a name has no pieces.
        """
        tokens = []
        for name in names:
            ids = self.tokenizer(name, add_special_tokens=False).input_ids
            if not ids:
                raise DistokError(f"the class name {name!r} has no letters the text encoder knows; rename it")
            tokens.append(self.table.weight[ids].float().mean(0))
        return torch.stack(tokens)

    def token_ids(self, prompt: str) -> tuple[int, ...]:
        """The ids of a prompt, start and end included, cut as the pipeline cuts; ``<tcrt_i>`` is ``rows of the table + i``."""
        return self._read(prompt)[0]

    def encode(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None, *, padded: bool = False) -> Encoded:
        """Encode prompts, padded to ``length`` as the pipeline pads, or only to the longest of them.

        Emphasis, as in ``(red hat:1.3)``, acts on padded states, which condition the denoiser, and never on features.

        Raises:
            DistokError: a prompt names a token that is not given, or tokens are of another width.
        """
        rows = [self._read(prompt) for prompt in prompts]
        length = self.length if padded else max(len(ids) for ids, _ in rows)
        encoded = self._run([ids for ids, _ in rows], length, tokens, padded)
        if not padded or all(weight == 1 for _, weights in rows for weight in weights):
            return encoded
        with torch.no_grad():
            base = self._run([self._read("")[0]], length, None, padded)
        strength = torch.tensor([weights + (1.0,) * (length - len(weights)) for _, weights in rows]).to(encoded.last)[..., None]
        penultimate = encoded.penultimate
        if penultimate is not None and base.penultimate is not None:
            penultimate = base.penultimate + strength * (penultimate - base.penultimate)
        return Encoded(base.last + strength * (encoded.last - base.last), penultimate, encoded.pooled, encoded.mask)

    def _read(self, prompt: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Ids of a prompt and the emphasis of each."""
        if prompt not in self._ids:
            plain, stresses = emphasis(prompt)
            slots = [int(index) for index in SLOT.findall(plain)]
            numbered = SLOT.sub(PLACE, plain)
            ids = self.tokenizer(numbered, truncation=True, max_length=self.length).input_ids
            if ids.count(self._placeholder) != len(slots):
                raise DistokError(f"the prompt {prompt!r} is too long: its concept falls past {self.length} tokens; shorten it")
            numbers = iter(slots)
            row = tuple(self.table.num_embeddings + next(numbers) if i == self._placeholder else i for i in ids)
            self._ids[prompt] = row, self._strengths(plain, stresses, len(row))
        return self._ids[prompt]

    def _strengths(self, plain: str, stresses: Sequence[tuple[int, int, float]], count: int) -> tuple[float, ...]:
        """The emphasis of each id, from spans of the prompt's characters."""
        if not stresses:
            return (1.0,) * count
        # From the beginning up to each edge, so that no offsets are needed: a span begins and ends where a word does. A piece
        # alone would be counted otherwise: before the comma that begins one, a sentencepiece vocabulary puts a lone space.
        weights: list[float] = []
        edges = sorted({0, len(plain), *(edge for start, end, _ in stresses for edge in (start, end))})
        for start, end in pairwise(edges):
            weight = next((w for first, last, w in stresses if first <= start and end <= last), 1.0)
            until = SLOT.sub(PLACE, plain[:end]).rstrip()
            weights += [weight] * (len(self.tokenizer(until, add_special_tokens=False).input_ids) - len(weights))
        before = len(self.tokenizer("").input_ids) - self._after()
        return tuple(([1.0] * before + weights + [1.0] * count)[:count])

    def _run(self, rows: Sequence[tuple[int, ...]], length: int, tokens: Float[Tensor, "n d"] | None, padded: bool) -> Encoded:
        pad = self.tokenizer.pad_token_id
        device = self.table.weight.device
        ids = torch.tensor([row + (pad,) * (length - len(row)) for row in rows], device=device)
        sizes = torch.tensor([len(row) for row in rows], device=device)
        mask = (torch.arange(length, device=device) < sizes[:, None]).long()
        needed = int(ids.max()) - self.table.num_embeddings + 1
        given = 0 if tokens is None else len(tokens)
        if needed > given:
            raise DistokError(f"a prompt names <tcrt_{needed - 1}>, but {given} creative tokens are given; give {needed}")
        if tokens is not None and tokens.shape[1:] != (self.width,):
            raise DistokError(f"creative tokens of width {tokens.shape[-1]} do not fit this text encoder's {self.width}")
        with self._lock, splice(self.spliced, None if tokens is None else tokens.to(device)):
            return self._forward(ids, mask, padded)

    def _longest(self) -> int:
        return min(self.tokenizer.model_max_length, self.module.config.max_position_embeddings)

    def _after(self) -> int:
        """How many special ids end a prompt."""
        return 1

    @abstractmethod
    def _forward(self, ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"], padded: bool) -> Encoded:
        """Run the spliced module."""


class ClipEncoder(TextEncoder):
    """``CLIPTextModel``, or ``CLIPTextModelWithProjection`` whose projection then ends the pooled vector.

    It is causal: what stands after end-of-text changes neither feature nor the states before it.
    """

    @property
    def projection(self) -> Any:
        """The module from pooled state to feature, or None."""
        return getattr(self.module, "text_projection", None)

    def _forward(self, ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"], padded: bool) -> Encoded:
        # Only encoders trained with a mask get one, exactly as the pipelines do.
        given = mask if getattr(self.module.config, "use_attention_mask", False) else None
        out = self.module(ids, attention_mask=given, output_hidden_states=True)
        # Pooled at the end-of-text position itself: pooling by the largest id would pick a creative token.
        pooled = out.last_hidden_state[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        if self.projection is not None:
            pooled = self.projection(pooled)
        return Encoded(out.last_hidden_state, out.hidden_states[-2], pooled, mask)


class T5Encoder(TextEncoder):
    """``T5EncoderModel``; its pooled vector is the mean of the prompt's own states.

    Padded, it sees the padding, as the pipelines let it; unpadded it gets a mask, so that a feature does not depend on the
    batch it is made in.
    """

    def _forward(self, ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"], padded: bool) -> Encoded:
        states = self.module(ids, attention_mask=None if padded else mask).last_hidden_state
        inside = mask[..., None].to(states)
        return Encoded(states, None, (states * inside).sum(1) / inside.sum(1), mask)


class MultilingualClipEncoder(TextEncoder):
    """``MultilingualCLIP`` of Kandinsky 2.1: XLM-RoBERTa, the mean of its states, and a linear map."""

    @property
    def spliced(self) -> Any:
        """The inner transformer: the outer class does not say where its embeddings are."""
        return self.module.transformer

    def _longest(self) -> int:
        return 77  # KandinskyPipeline pads to it whatever the tokenizer says

    def _forward(self, ids: Int[Tensor, "b l"], mask: Int[Tensor, "b l"], padded: bool) -> Encoded:
        pooled, states = self.module(input_ids=ids, attention_mask=mask)
        return Encoded(states, None, pooled, mask)
