"""Helpers of the tests at the edge: a tiny model file, and the command line called in this process."""

import json
import sys
from pathlib import Path

import pytest

from tests import tiny


def save_model(path: Path, backend, names: tuple[str, ...] = tiny.NAMES) -> Path:
    """An untrained DisTok for ``backend``, as a training run leaves it."""
    import torch

    from distok.model import DisTok, DisTokSettings

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DisTok(DisTokSettings(backend.token_dim, latent_dim=4, hidden_dim=16))
    model.fit_tokens(backend.name_tokens(names))
    return model.save(path, {"names": json.dumps(names), "backend": backend.hash})


class CommandLine:
    """``distok`` called in this process: the real entry point, without the seconds that a new process takes to start."""

    def __init__(self, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *words: object) -> tuple[int, str, str]:
        from distok.cli import main

        self.monkeypatch.setattr(sys, "argv", ["distok", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code, *self.capsys.readouterr())


def stamps(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
