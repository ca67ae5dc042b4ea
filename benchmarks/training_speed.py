"""Time and memory of a training step against the paper's loop done literally, in one run.

    python -m benchmarks.training_speed [--backend FOLDER --names FILE] [--steps 200] [--threads 1]
    python -m benchmarks.training_speed --preset paper --width 768 --layers 12 --heads 12    # the text tower of CLIP ViT-L/14

Without a backend it builds one with random weights: a CLIP text encoder, by default of 4 layers, 192 wide, with CLIP's 77
positions (to which the paper's loop pads every prompt), a vocabulary of some 600 pieces, and 60 class names.
"""

import argparse
import ctypes
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from benchmarks.naive_loop import accumulate
from safetensors.torch import save_file
from tests import tiny

from distok.backends import Backend, open_backend
from distok.training import Trainer, preset
from distok.training.tasks import draw


class Cost(NamedTuple):
    """What a loop costs: seconds a step, the steps that were timed, and the most bytes that were in use."""

    seconds: float
    steps: int
    peak: int


def main() -> None:
    """Print milliseconds per step and peak memory of both loops, their ratio, and the time that 20 000 steps take."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    trainer = _trainer(args)
    ready = time.perf_counter() - start
    _fill_pool(trainer, 512)
    # The smaller one first: memory that a process once had may stay with it.
    naive = _cost(lambda: _naive(trainer), args.naive_steps, args)
    batched = _cost(lambda: _batched(trainer), args.steps, args)
    sizes = f"{sum(p.numel() for p in trainer.backend.pipe.text_encoder.parameters()) / 1e6:.1f} million weights"
    print(f"text encoder {trainer.backend.token_dim} wide, {sizes}; {trainer.settings.sub_steps} tasks a step")
    print(f"device       {args.device}, {args.threads} threads")
    for name, cost in (("paper's loop", naive), ("batched", batched)):
        print(f"{name:12} {cost.seconds * 1e3:8.1f} ms a step over {cost.steps} steps, peak {cost.peak / 2**20:.0f} MiB")
    print(f"ratio        {naive.seconds / batched.seconds:8.1f}")
    print(f"start        {ready:8.1f} s: loading, and the constant features of all pairs")
    print(f"20 000 steps {batched.seconds * 20_000 / 60:8.1f} minutes by the mean of {batched.steps}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", type=Path, help="a pipeline folder; a random one if left out")
    parser.add_argument("--names", type=Path, help="a file with one class name a line")
    parser.add_argument("--width", type=int, default=192, help="width of the random text encoder")
    parser.add_argument("--layers", type=int, default=4, help="layers of the random text encoder")
    parser.add_argument("--heads", type=int, default=4, help="attention heads of the random text encoder")
    parser.add_argument("--length", type=int, default=77, help="positions of the random text encoder")
    parser.add_argument("--preset", default="menagerie", help="of the training's settings")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--naive-steps", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=12, help="stop timing a loop after so many, whatever its steps")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="one is fastest for small text encoders")
    return parser.parse_args()


def _trainer(args: argparse.Namespace) -> Trainer:
    names = args.names.read_text().split("\n") if args.names else [a + b for a in "bcdfghjklm" for b in tiny.NAMES]
    settings = preset(args.preset, steps=20_000, sub_steps=8, estimate_count=0, bank_count=0, delta=0.0)
    backend = open_backend(args.backend, args.device) if args.backend else _random_backend(args)
    return Trainer(settings, backend, None, [name for name in names if name])


def _random_backend(args: argparse.Namespace) -> Backend:
    """A pipeline whose text tower has CLIP's proportions; its denoiser is tiny, as no step uses it."""
    text = {"num_attention_heads": args.heads, "intermediate_size": 4 * args.width, "projection_dim": args.width}
    with tempfile.TemporaryDirectory() as home:
        folder, sizes = Path(home) / "pipeline", {"width": args.width, "layers": args.layers, "length": args.length}
        tiny.save_pipeline(folder, projection=False, **sizes, **text)
        projection = torch.randn(args.width, args.width, generator=torch.Generator().manual_seed(1)) / args.width**0.5
        save_file({"weight": projection}, folder / "text_encoder" / "projection.safetensors")
        return open_backend(folder, args.device)


def _fill_pool(trainer: Trainer, count: int) -> None:
    """Admit mixtures of tokens, so that both tasks are drawn and fusions with admitted concepts are encoded."""
    generator = torch.Generator().manual_seed(0)
    mixtures = torch.rand(count, len(trainer.names), generator=generator).pow(4)
    mixtures /= mixtures.sum(1, keepdim=True)
    known = trainer.pool.known_tokens
    mixtures = mixtures.to(known)
    tokens = mixtures @ known
    features = torch.randn(count, trainer.backend.feature_dim, generator=generator).to(known)
    trainer.pool.admit(tokens, mixtures, torch.nn.functional.normalize(features, dim=-1))


def _batched(trainer: Trainer) -> None:
    trainer.advance()


def _naive(trainer: Trainer) -> None:
    trainer.optimizer.zero_grad(set_to_none=True)
    accumulate(trainer, draw(trainer.step, trainer.settings, trainer.allowed, trainer.pool.distributions))
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.settings.grad_clip)
    trainer.optimizer.step()
    trainer.step += 1


def _cost(step: Callable[[], None], count: int, args: argparse.Namespace) -> Cost:
    for _ in range(3 if count > 20 else 1):
        step()
    memory = Memory(args.device)
    start, done = time.perf_counter(), 0
    while done < count and time.perf_counter() - start < 60 * args.minutes:
        step()
        done += 1
    peak = memory.peak()  # waits for a GPU
    return Cost((time.perf_counter() - start) / done, done, peak)


class Memory:
    """The most memory in use since it was made: of a GPU's tensors, or of this whole process where Linux says so."""

    def __init__(self, device: str) -> None:
        self.gpu = torch.device(device).type == "cuda"
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # what a loop before has freed goes back to the system
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from what is in use

    def peak(self) -> int:
        """Bytes."""
        if self.gpu:
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
