"""Readings a second, with their pictures drawn in single precision and in bfloat16 arithmetic, in one run on the CPU.

    python -m benchmarks.readings [--count 64] [--threads 1]

What a training spends its time on: tokens of random mixtures, drawn by the shipped pipeline as the recipe draws them and read by
the shipped labeler. Both draw the same tokens with the same seeds, so the readings can be compared one by one.
"""

import argparse
import time
from contextlib import nullcontext
from unittest import mock

import torch
from torch import Tensor

import distok
from distok import Creator, seeds
from distok.checkpoints import native_bf16
from distok.training import estimation, preset, runtime
from distok.training.tasks import Allowed, random_mixtures


def main() -> None:
    """Print readings a second of both, their ratio, how far they are apart, and how far two seeds of one token are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    creator = distok.open()
    if creator.labeler is None:
        raise SystemExit("the shipped labeler is not here")
    names, active = creator.names, preset("menagerie").estimate_active
    mixtures = random_mixtures(seeds.rng(0, "benchmark"), args.count, len(names), active, Allowed.among(names, ()))
    with torch.inference_mode():
        known = creator.backend.name_tokens(names)
        tokens = creator.model(torch.from_numpy(mixtures).to(known) @ known)
    quick = torch.autocast("cpu", torch.bfloat16, cache_enabled=False)
    found = {}
    for name, how, seed in (
        ("warm", quick, 0),
        ("single", nullcontext(), 0),
        ("bfloat16", quick, 0),
        ("again", nullcontext(), 1),
    ):
        with mock.patch.object(runtime, "quick", lambda device, dtype, how=how: how):
            start = time.perf_counter()
            found[name] = _read(creator, tokens, seed), time.perf_counter() - start
    (single, slow), (half, fast) = found["single"], found["bfloat16"]
    print(f"single precision      {args.count / slow:8.2f} readings a second")
    print(f"bfloat16 arithmetic   {args.count / fast:8.2f} readings a second")
    print(f"ratio                 {slow / fast:8.2f}")
    print(f"L1 between them       {_apart(single, half):8.3f} a reading, of the same token and seed")
    print(f"L1 between two seeds  {_apart(single, found['again'][0]):8.3f} a reading, of the same token in single precision")
    print(f"chosen here           {'bfloat16 arithmetic' if native_bf16('cpu') else 'single precision'}")


def _read(creator: Creator, tokens: Tensor, seed: int) -> Tensor:
    numbers = [[seeds.derive(seed, "picture", i)] for i in range(len(tokens))]
    steps = preset("menagerie").estimate_steps
    return estimation.read_back(creator.backend, creator.labeler, creator.names, tokens, picture_seeds=numbers, steps=steps)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().sum(1).mean())


if __name__ == "__main__":
    main()
