"""Column swapping, the mechanism of BASS and AGSwap: each column of the prompt embedding comes from one class.

E_f = E_1·diag(f) + E_2·diag(1 − f) for a binary vector f over the columns (BASS, the swapping operation); here f says
which of k classes owns a column. Shapes: k classes, b prompts, w columns.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from distok.backends.base import Condition

Owners = Mapping[str, Int[Tensor, " w"]]  # for each tensor of a condition the class that owns each of its columns


def widths(conditions: Condition) -> dict[str, int]:
    """Columns of each tensor that can be swapped: all but masks, which say where a prompt ends and not what it means."""
    return {key: value.shape[-1] for key, value in conditions.items() if not key.endswith("mask")}


def swap(conditions: Condition, owners: Owners) -> Condition:
    """The condition whose column c is that of class ``owners[c]``; a batch of 1.

    Args:
        conditions: those of the k classes, each tensor beginning with k.
    """
    made = {}
    for key, value in conditions.items():
        if key not in owners:
            made[key] = value.amax(0, keepdim=True)  # the mask of the longest prompt
            continue
        index = owners[key].to(value.device).expand(1, *value.shape[1:])
        made[key] = value.gather(0, index)
    return made


def stack(conditions: "list[Condition]") -> Condition:
    """Conditions of one prompt each as those of a batch."""
    return {key: torch.cat([each[key] for each in conditions]) for key in conditions[0]}
