"""Time of a training step against the paper's loop done literally, in one run.

    python -m benchmarks.training_speed [--backend FOLDER --names FILE] [--steps 200] [--threads 1]

Without a backend it builds one with random weights: a CLIP text encoder of 4 layers, 192 wide, with CLIP's 77
positions (to which the paper's loop pads every prompt), and 60 class names.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.naive_loop import accumulate
from tests import tiny

from distok.backends import open_backend
from distok.training import Trainer, preset
from distok.training.tasks import draw


def main() -> None:
    """Print milliseconds per step of both loops, their ratio, and the time that 20 000 steps take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", type=Path, help="a pipeline folder; a random one if left out")
    parser.add_argument("--names", type=Path, help="a file with one class name a line")
    parser.add_argument("--width", type=int, default=192, help="width of the random text encoder")
    parser.add_argument("--length", type=int, default=77, help="positions of the random text encoder")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--naive-steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1, help="one is fastest for small text encoders")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trainer = _trainer(args)
    _fill_pool(trainer, 512)
    batched, naive = _time(lambda: _batched(trainer), args.steps), _time(lambda: _naive(trainer), args.naive_steps)
    print(f"text encoder {trainer.backend.token_dim} wide, {trainer.settings.sub_steps} tasks a step, {args.threads} threads")
    print(f"paper's loop {naive * 1e3:8.1f} ms a step")
    print(f"batched      {batched * 1e3:8.1f} ms a step")
    print(f"ratio        {naive / batched:8.1f}")
    print(f"20 000 steps {batched * 20_000 / 60:8.1f} minutes")


def _trainer(args: argparse.Namespace) -> Trainer:
    names = args.names.read_text().split("\n") if args.names else [a + b for a in "bcdfghjklm" for b in tiny.NAMES]
    settings = preset("menagerie", steps=20_000, sub_steps=8, estimate_count=0, bank_count=0)
    if args.backend:
        return Trainer(settings, open_backend(args.backend), None, [name for name in names if name])
    with tempfile.TemporaryDirectory() as folder:
        backend = open_backend(tiny.save_pipeline(Path(folder) / "pipeline", width=args.width, layers=4, length=args.length))
        return Trainer(settings, backend, None, names)


def _fill_pool(trainer: Trainer, count: int) -> None:
    """Admit mixtures of tokens, so that both tasks are drawn and fusions with admitted concepts are encoded."""
    generator = torch.Generator().manual_seed(0)
    mixtures = torch.rand(count, len(trainer.names), generator=generator).pow(4)
    mixtures /= mixtures.sum(1, keepdim=True)
    tokens = mixtures @ trainer.pool.known_tokens
    features = torch.randn(count, trainer.backend.feature_dim, generator=generator)
    trainer.pool.admit(tokens, mixtures, torch.nn.functional.normalize(features, dim=-1))


def _batched(trainer: Trainer) -> None:
    trainer.advance()


def _naive(trainer: Trainer) -> None:
    trainer.optimizer.zero_grad(set_to_none=True)
    accumulate(trainer, draw(trainer.step, trainer.settings, trainer.pairs, trainer.pool.known, trainer.pool.admitted))
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.settings.grad_clip)
    trainer.optimizer.step()
    trainer.step += 1


def _time(step: Callable[[], None], count: int) -> float:
    for _ in range(3):
        step()
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    main()
