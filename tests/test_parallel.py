"""Two processes under ``accelerate launch`` train as one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from distok.training.parallel import Processes
from distok.training.tasks import Tasks
from tests.tiny import NAMES

RUN = """
import json, sys
from pathlib import Path
from distok.backends import open_backend
from distok.labelers import open_labeler
from distok.training import train
from tests.tiny import NAMES, run_settings

pipeline, labeler, out = sys.argv[1:]
settings = run_settings(mixture_share=0.5, tau=0.999, estimate_count=3, delta=0.5)
told = []
train(settings, open_backend(pipeline), open_labeler(labeler), NAMES, Path(out), told.append)
from distok.training.parallel import Processes
found = Processes.found("cpu")
(Path(out) / f"losses-{found.rank}.json").write_text(json.dumps({"size": found.size, "losses": told}))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def accelerated(script: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Two processes by accelerate, which chooses a port by itself only from a later release on; one taken meanwhile is left."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"]
    for _ in range(3):
        command = [*launch, str(free_port()), *script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        if done.returncode == 0 or not any(each in done.stderr for each in ("EADDRINUSE", "already in use")):
            break
    return done


def test_of_two_processes_the_first_collects_and_talks(pipeline_folder, labeler_folder, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    words = ["train", "--backend", pipeline_folder, "--labeler", labeler_folder, "--concepts", "names.txt", "--out", "run"]
    words += ["--steps", 2, "--set", "estimate_count=0", "--set", "estimate_steps=1", "--collect", 65]  # told after each 64
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "-m", "distok", *words]
    command = [sys.executable, *map(str, launch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("reading pictures: 65 of 65") == 1, done.stderr
    assert done.stderr.count("training: 2 of 2") == 1
    assert done.stdout.count("trained: ") == 1


def test_two_processes_give_the_losses_of_one(pipeline_folder, labeler_folder, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ["PYTHONPATH"]]), "OMP_NUM_THREADS": "1"}
    told = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        words = [str(script), str(pipeline_folder), str(labeler_folder), str(tmp_path / name)]
        alone = {"env": environment, "capture_output": True, "text": True, "timeout": 240}
        done = subprocess.run([sys.executable, *words], **alone) if name == "one" else accelerated(words, environment)
        assert done.returncode == 0, done.stderr[-2000:]
        told[name] = [json.loads(path.read_text()) for path in sorted((tmp_path / name).glob("losses-*.json"))]
    (one,), (first, second) = told["one"], told["two"]
    assert (one["size"], first["size"], second["size"]) == (1, 2, 2)
    assert one["losses"][-1]["pool"] > len(NAMES), "nothing was estimated"
    for alone, *both in zip(one["losses"], first["losses"], second["losses"], strict=True):
        for key in ("total", "fusion", "consistency", "latent", "foreseen", "pool"):
            assert [each[key] for each in both] == pytest.approx([alone[key]] * 2, abs=1e-5), key
    from safetensors.torch import load_file

    weights = [load_file(tmp_path / name / "distok.safetensors") for name in ("one", "two")]
    for key, value in weights[0].items():
        # AdamW takes a whole step along a gradient of almost 0, whose sign is rounding: single weights may part, the whole not.
        assert (value - weights[1][key]).norm() <= 1e-3 * value.norm() + 1e-5, key


def test_shares_cover_every_task_once():
    import numpy as np

    tasks = Tasks(np.arange(3), np.arange(3) + 10, np.arange(10.0).reshape(2, 5), np.arange(4) + 20)
    parts = [tasks.part(Processes(rank, 2).mine) for rank in range(2)]
    assert [len(part) for part in parts] == [5, 4]
    assert sorted(np.concatenate([part.left for part in parts])) == [0, 1, 2]
    assert sorted(np.concatenate([part.targets for part in parts])) == [20, 21, 22, 23]
    assert sorted(np.concatenate([part.mixtures for part in parts])[:, 0]) == [0.0, 5.0]
    alone = tasks.part(Processes().mine)
    assert all(np.array_equal(getattr(alone, key), getattr(tasks, key)) for key in ("left", "right", "mixtures", "targets"))
