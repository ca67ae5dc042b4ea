"""Kill a training again and again with SIGKILL; at the end its model must be the same file as an undisturbed run's.

    python -m benchmarks.kill_resume [--kills 20]

The run saves every second step, so many kills land in the middle of a save. Runs are real processes on the tiny pipeline.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import tiny

from distok.backends import open_backend
from distok.labelers import open_labeler
from distok.training import MODEL_FILE, TrainSettings, preset, train


def settings(steps: int) -> TrainSettings:
    """A short run with every part in it: both tasks, live estimation, a running mean, evictions, frequent saves."""
    return preset(
        "menagerie", steps=steps, latent_dim=8, hidden_dim=32, warmup=5, tau=0.999, pool_size=12, ema_decay=0.9,
        estimate_every=5, estimate_count=4, estimate_steps=1, save_every=2, foresight_after=10, foresight_memory=12,
        foresight_blocks=1, foresight_batch=8, foreseen_count=8,
    )  # fmt: skip


def work(checkpoints: Path, out: Path, steps: int) -> Path:
    """Train or resume in ``out``, saying every step on standard output."""
    backend, labeler = open_backend(checkpoints / "pipeline"), open_labeler(checkpoints / "labeler")
    return train(settings(steps), backend, labeler, tiny.NAMES, out, lambda report: print(report["step"], flush=True))


def start(checkpoints: Path, out: Path, steps: int) -> subprocess.Popen[str]:
    """Start :func:`work` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.kill_resume", "--worker", str(checkpoints), str(out), str(steps)]
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)


def kill_at(process: subprocess.Popen[str], after: int, delay: float) -> bool:
    """SIGKILL the process ``delay`` seconds after it said ``after`` more steps; False if it finished before."""
    for said, _ in enumerate(process.stdout or (), 1):
        if said >= after:
            break
    time.sleep(delay)
    process.kill()
    return process.wait() != 0


def digest(path: Path) -> str:
    """A hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Print each kill and whether the two files are equal; exit status 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(Path(args.worker[0]), Path(args.worker[1]), int(args.worker[2]))
        return
    steps, dice = 12 * args.kills, random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny.save_pipeline(folder / "pipeline")
        tiny.save_labeler(folder / "labeler")
        for kill in range(args.kills):
            killed = kill_at(start(folder, folder / "killed", steps), dice.randint(1, 10), dice.uniform(0, 0.05))
            kept = sorted(path.name for path in (folder / "killed").iterdir())
            print(f"kill {kill + 1:2}: {'killed' if killed else 'had finished'}, folder holds {', '.join(kept)}", flush=True)
        for out in ("killed", "whole"):
            if start(folder, folder / out, steps).communicate() and not (folder / out / MODEL_FILE).is_file():
                sys.exit(f"the run in {out} did not finish")
        same = digest(folder / "killed" / MODEL_FILE) == digest(folder / "whole" / MODEL_FILE)
    print(f"{args.kills} kills in {steps} steps: the models are {'the same to the byte' if same else 'DIFFERENT'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
