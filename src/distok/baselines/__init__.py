"""The methods of the literature, the cheap controls, and DisTok beside them, on the backends' signature; one file a method."""

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from distok.errors import DistokError

if TYPE_CHECKING:
    from distok.baselines.base import Baseline, Outcome

__all__ = ["BASELINES", "Baseline", "Outcome", "baseline", "baseline_class"]

BASELINES = {  # name on the command line: (module, class); imported when asked for
    "distok": ("ours", "Ours"),
    "distok-best": ("search", "DistokBest"),
    "names-best": ("search", "NamesBest"),
    "distok-refined": ("search", "DistokRefined"),
    "weighting-refined": ("search", "WeightingRefined"),
    "sentence": ("controls", "Sentence"),
    "names-by-weight": ("controls", "NamesByWeight"),
    "mean-of-tokens": ("controls", "MeanOfTokens"),
    "mean-of-embeddings": ("controls", "MeanOfEmbeddings"),
    "dominant": ("controls", "Dominant"),
    "random-z": ("controls", "RandomZ"),
    "prompt-weighting": ("prompt_weighting", "PromptWeighting"),
    "prior-interpolation": ("prior_interpolation", "PriorInterpolation"),
    "concept-lab": ("concept_lab", "ConceptLab"),
    "bass": ("bass", "Bass"),
    "agswap": ("agswap", "AgSwap"),
    "cretok": ("cretok", "CreTok"),
    "adaptive-negatives": ("adaptive_negatives", "AdaptiveNegatives"),
    "magic-mix": ("magic_mix", "MagicMix"),
    "diff-morpher": ("diff_morpher", "DiffMorpher"),
}
_HOME = {"Baseline": "base", "Outcome": "base"}


def baseline_class(name: str) -> "type[Baseline]":
    """The class of a method by its name on the command line.

    Raises:
        DistokError: there is no such method.
    """
    if name not in BASELINES:
        near = difflib.get_close_matches(name.lower(), BASELINES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(BASELINES)}"
        raise DistokError(f"there is no baseline {name[:40]!r}; {hint}")
    module, cls = BASELINES[name]
    found: type[Baseline] = getattr(import_module(f"distok.baselines.{module}"), cls)
    return found


def baseline(name: str, preset: str = "published", /, **changes: Any) -> "Baseline":
    """A method with the settings of a preset, and changes; see :meth:`Baseline.preset`."""
    return baseline_class(name).preset(preset, **changes)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distok.baselines' has no attribute '{name}'")
    return getattr(import_module(f"distok.baselines.{_HOME[name]}"), name)
