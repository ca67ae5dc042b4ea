"""All randomness derives from (seed, tags) by one function, so that resuming needs no saved RNG state."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *tags: int | str) -> int:
    """Return a 63-bit seed that is a pure function of ``seed`` and ``tags`` (a step, a picture's index, a task's name)."""
    text = "/".join([str(int(seed)), *map(str, tags)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def rng(seed: int, *tags: int | str) -> np.random.Generator:
    """Return a NumPy generator seeded by :func:`derive`."""
    return np.random.default_rng(derive(seed, *tags))


def generator(seed: int, *tags: int | str) -> "torch.Generator":
    """Return a CPU ``torch.Generator`` seeded by :func:`derive`; CPU so that a picture does not depend on the device."""
    import torch

    return torch.Generator("cpu").manual_seed(derive(seed, *tags))
