"""Seconds that a person waits, on this machine."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from distok.backends.prompts import PROMPT, named
from distok.errors import DistokError
from distok.evaluation.bars import verdict_table, verdicts
from distok.evaluation.cases import Bench
from distok.evaluation.report import Result

_START = "from distok.cli import main; main()"
COLD = "pig=0.55, sheep=0.25, snake=0.2"


def speed(bench: Bench, options: Sequence[str] = (), repeats: int = 3, batch: int = 8) -> Result:
    """Time a batch of pictures, ``distok create -n 4`` in a new process, and ``distok --help``; the median of ``repeats``.

    Args:
        bench: what renders.
        options: for ``distok create``: --backend, --model, --labeler where they are not the shipped ones.
        repeats: how often each is timed.
        batch: pictures rendered together.
    """
    import torch

    mix = COLD if all(name in bench.names for name in ("pig", "sheep", "snake")) else ", ".join(bench.names[:2])
    prompts = [named(bench.names[i % len(bench.names)], PROMPT) for i in range(batch)]
    told = bench.darkroom.callback or (lambda *_: None)
    bench.backend.render(prompts, seeds=range(batch))  # the first call also loads kernels
    figures = {}
    figures[f"speed: seconds a picture, batch of {batch}"] = (
        _median(lambda: bench.backend.render(prompts, seeds=range(batch)), repeats) / batch
    )
    told("speed", 1, 3)
    with tempfile.TemporaryDirectory() as folder:
        words = ["create", mix, "-n", "4", "--out", str(Path(folder, "made")), "--force", *options]
        figures["speed: seconds from cold, distok create -n 4"] = _median(lambda: _call(words), repeats)
    told("speed", 2, 3)
    figures["speed: seconds, distok --help"] = _median(lambda: _call(["--help"]), repeats)
    told("speed", 3, 3)
    note = f"Median of {repeats}, {torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}."
    record = {"figures": figures, "bars": verdicts(figures), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    return Result("speed", record, (verdict_table("Speed", figures, note),))


def _median(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def _call(words: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, "-c", _START, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DistokError(f"'distok {words[0]}' failed: {done.stderr.strip()[-300:]}")
