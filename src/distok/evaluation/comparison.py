"""What moved between two reports, and whether it is more than chance: a paired bootstrap over the cases both hold.

Shapes: c cases.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distok.errors import DistokError
from distok.evaluation.readings import HEADINGS, HIGHER_IS_BETTER
from distok.evaluation.report import Table
from distok.evaluation.statistics import Interval, bootstrap

SUITES = {  # what tells the rows of a case apart
    "methods": ("method",),
    "fidelity": ("method",),
    "sensitivity": ("setting", "method"),
    "refinement": ("method", "rounds"),
    "ablation": ("variant",),
}
FEWEST = 6  # cases of a verdict
LEAST = 5e-4  # nearer to 0 prints as 0.000; the rounding of two kinds of processor moved a mean KL by less (docs/log.md)
DECIDE = {  # by its name in a report's JSON file, what may move every figure at once
    "seeds": "numbers of pictures",
    "readers": "readers",
    "guidance_scale": "guidance",
    "denoising_steps": "denoising steps",
    "preset": "preset of the methods",
    "readings": "readings",
    "steps": "training steps",
    "training_seeds": "training seeds",
}
UNLIKE = ("numbers of pictures", "readers")  # where these differ, or are not known, no verdict is given
SHOWN = ("kl", "js", "top1", "topk")
Case = tuple[str, str]
Key = tuple[str, ...]  # what is compared, by whom it was read, and the measure


def compare_reports(first: str | Path, second: str | Path, metrics: Sequence[str] = SHOWN) -> list[Table]:
    """Tables of second minus first, for every suite, method and reader that both folders hold, paired by case.

    Where the two have other numbers of pictures a case or other readers, or a JSON file that would say so is gone, every figure
    is shown and no verdict given: the KL of a mean over more pictures is smaller whoever drew them.

    Raises:
        DistokError: a folder holds no report, or the two share nothing.
    """
    a, b = Path(first), Path(second)
    for folder in (a, b):
        if not any((folder / f"{suite}.csv").is_file() for suite in SUITES):
            raise DistokError(
                f"{folder} holds no report with cases; give a folder that 'distok evaluate … --out' wrote, with one of "
                f"{', '.join(SUITES)}"
            )
    tables = [table for suite in SUITES for table in _compare(suite, a, b, metrics)]
    if not tables:
        raise DistokError(f"{a} and {b} have no suite, method and case in common; run the same suite in both")
    return tables


def _compare(suite: str, first: Path, second: Path, metrics: Sequence[str]) -> list[Table]:
    one, other = _values(first, suite, metrics), _values(second, suite, metrics)
    sides = _asked(first, suite), _asked(second, suite)
    apart = _apart(*sides)
    unlike = next((f"other {key}" for key in UNLIKE if key in apart), None)
    unlike = unlike or next((f"{key} unknown" for key in UNLIKE if not all(key in side for side in sides)), None)
    rows = []
    for key in one:
        if key not in other:
            continue
        cases = sorted(one[key].keys() & other[key].keys())
        if len(cases) < 2:
            continue
        before, after = (np.array([side[key][case] for case in cases]) for side in (one, other))
        moved = bootstrap(after - before)
        told = (f"{before.mean():.3f}", f"{after.mean():.3f}", str(moved), unlike or _verdict(moved, key[-1], len(cases)))
        rows.append((*key[:-1], HEADINGS[key[-1]], *told))
    if not rows:
        return []
    heads = (*SUITES[suite], "reader", "measure", "first", "second", "second minus first", "verdict")
    note = f"{first} → {second}; over the cases both hold, paired; better or worse where the 95 % interval leaves 0 out, "
    note += f"the same where it lies within {LEAST:g} of it."
    note += f" What was asked for differs in {', '.join(apart)}." if apart else ""
    return [Table(f"{suite}: what moved", heads, tuple(rows), note)]


def _asked(folder: Path, suite: str) -> Mapping[str, Any]:
    """What a suite was asked for and by whom it was read, as its JSON file says; empty where that is gone."""
    try:
        stored = json.loads((folder / f"{suite}.json").read_text(encoding="utf-8"))
        asked: Mapping[str, Any] = {"denoising_steps": None} | stored["origin"]["asked"]  # once it could not be asked for
        return {DECIDE[key]: value for key, value in {**asked, **asked.get("hashes", {})}.items() if key in DECIDE}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() & other.keys() if one[key] != other[key])


def _verdict(moved: Interval, metric: str, count: int) -> str:
    if count < FEWEST:
        return f"fewer than {FEWEST} cases"
    if -LEAST < moved.low <= moved.high < LEAST:
        return "the same"
    if moved.low <= 0 <= moved.high:
        return "no difference shown"
    return "better" if (moved.low > 0) == (metric in HIGHER_IS_BETTER) else "worse"


def _values(folder: Path, suite: str, metrics: Sequence[str]) -> dict[Key, dict[Case, float]]:
    """Every measure by key and case (its number and mix); a case read under several training seeds counts once, by its mean."""
    path = folder / f"{suite}.csv"
    if not path.is_file():
        return {}
    found: dict[Key, dict[Case, list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for metric in metrics:
                    key = (*(row[name] for name in SUITES[suite]), row["reader"], metric)
                    found.setdefault(key, {}).setdefault((row["case"], row["asked"]), []).append(float(row[metric]))
    except (KeyError, TypeError, ValueError) as error:
        raise DistokError(f"{path} is not a table of this version ({error}); run the suite again") from None
    return {key: {case: float(np.mean(each)) for case, each in cases.items()} for key, cases in found.items()}
