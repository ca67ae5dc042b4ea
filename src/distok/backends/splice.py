"""Creative tokens in a frozen text encoder: spliced into the input embeddings, never added to the vocabulary.

Shapes: n creative tokens, d token width, b prompts, l positions.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class SplicedEmbedding(nn.Module):
    """An embedding table whose ids past the end read the rows of ``tokens``, with gradient; all others read the table."""

    def __init__(self, table: nn.Embedding, tokens: Float[Tensor, "n d"]) -> None:
        super().__init__()
        self.table = table
        self.tokens = tokens

    @property
    def weight(self) -> Tensor:
        """The table itself; pipelines read its type and device."""
        return self.table.weight

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Embed ids; id ``table.num_embeddings + i`` is creative token ``i``. An id past the last token raises IndexError."""
        rows = self.table.num_embeddings
        known = self.table(ids.clamp(max=rows - 1))
        creative = self.tokens[(ids - rows).clamp(min=0)].to(known.dtype)
        return torch.where((ids >= rows)[..., None], creative, known)


@contextmanager
def splice(encoder: nn.Module, tokens: Float[Tensor, "n d"] | None) -> Iterator[nn.Module]:
    """Give ``encoder`` creative tokens for the length of a ``with`` block; its own table is back afterwards, come what may."""
    if tokens is None:
        yield encoder
        return
    table = encoder.get_input_embeddings()
    encoder.set_input_embeddings(SplicedEmbedding(table, tokens))
    try:
        yield encoder
    finally:
        encoder.set_input_embeddings(table)


def frozen_view(module: nn.Module) -> nn.Module:
    """A second module over the same weights, frozen and in evaluation mode: the original keeps its flags, mode and parts."""
    memo: dict[int, object] = {id(buffer): buffer for buffer in module.buffers()}
    memo |= {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    return copy.deepcopy(module, memo).eval()
