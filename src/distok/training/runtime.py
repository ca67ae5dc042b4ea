"""How a run uses the machine: a fixed number of threads, deterministic algorithms, quick arithmetic where it may be coarse."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from distok.checkpoints import native_bf16


@contextmanager
def deterministic(count: int) -> Iterator[None]:
    """Deterministic algorithms and ``count`` threads, as long as it lasts."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # only warns: some GPU kernels have no deterministic form
    try:
        with threads(count), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Memory Efficient attention defaults to a non-deterministic"
            )  # it may, as said above
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def threads(count: int) -> Iterator[None]:
    """``count`` CPU threads, as long as it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def quick(device: torch.device, dtype: str) -> AbstractContextManager[object]:
    """Products of single-precision weights in bfloat16 on a device made for it: some times faster, with no risk of an overflow.

    For pictures that are only read: it moves a reading by hundredths, another seed by tenths (`python -m benchmarks.readings`).
    """
    able = dtype == "float32" and device.type in ("cpu", "cuda") and native_bf16(device)
    if device.type == "cuda":
        able = able and torch.cuda.get_device_capability(device) >= (8, 0)
    # No cache: it would keep a second copy of every weight, and of those that visit a device one each time.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if able else nullcontext()
