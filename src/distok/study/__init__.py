"""A user study in one page: two pictures, one choice; built from pictures, scored from the files that participants send."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distok.study.build import StudySettings, build_study
    from distok.study.score import score_study

__all__ = ["StudySettings", "build_study", "score_study"]

_HOME = {"StudySettings": "build", "build_study": "build", "score_study": "score"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distok.study' has no attribute '{name}'")
    return getattr(importlib.import_module(f"distok.study.{_HOME[name]}"), name)
