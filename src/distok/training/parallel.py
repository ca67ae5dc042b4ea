"""Several processes that train one model: each encodes and renders its share, and all of them end every step alike.

Started by ``accelerate launch --multi_gpu`` or ``torchrun``; one process alone needs no library. Shapes: n rows.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from distok.errors import DistokError

PATIENCE = timedelta(days=7)  # while the first collects readings, which may take many hours, the others wait


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def found(cls, device: str) -> "Processes":
        """Those that a launcher started; one alone otherwise. On GPUs each process has "cuda" as its own one from then on.

        Args:
            device: where they compute; it decides how they talk to each other, and the first call decides for all.

        Raises:
            DistokError: several were started, but accelerate is not installed here.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        try:
            from accelerate import PartialState
        except ImportError:
            raise DistokError("several processes need accelerate: pip install accelerate") from None
        state = PartialState(cpu=torch.device(device).type == "cpu", timeout=PATIENCE)
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    @property
    def mine(self) -> slice:
        """Which of some rows are this one's: every size-th."""
        return slice(self.rank, None, self.size)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.size > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
        return value

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place."""
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad)

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Put the rows that each process made of its :attr:`mine` together again, ``count`` in all."""
        if self.size == 1:
            return rows
        whole = rows.new_zeros(count, *rows.shape[1:])
        whole[self.mine] = rows
        return self.total(whole)
