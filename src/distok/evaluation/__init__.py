"""Measuring: is what came out what was asked for, beside cheap controls and the artist; and how good are the rulers."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distok.evaluation.ablation import run_ablation
    from distok.evaluation.bars import BARS
    from distok.evaluation.instrument import check_world
    from distok.evaluation.job import Job, Setup
    from distok.evaluation.suites import SUITES, run

__all__ = ["BARS", "SUITES", "Job", "Setup", "check_world", "run", "run_ablation"]

_HOME = {
    "BARS": "bars", "SUITES": "suites", "Job": "job", "Setup": "job", "check_world": "instrument", "run": "suites",
    "run_ablation": "ablation",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distok.evaluation' has no attribute '{name}'")
    return getattr(importlib.import_module(f"distok.evaluation.{_HOME[name]}"), name)
