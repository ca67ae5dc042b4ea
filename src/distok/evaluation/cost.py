"""What a concept costs: seconds from a mix to its first picture, every method in one run on this machine."""

import os
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from distok.baselines import Baseline, baseline
from distok.distribution import Distribution
from distok.errors import UnavailableError
from distok.evaluation.cases import DISTOK, Bench
from distok.evaluation.contest import Absent
from distok.evaluation.fidelity import absent_table
from distok.evaluation.report import Result, Table, number
from distok.evaluation.statistics import Interval, bootstrap

COMPARED = 5
OPEN = "concept-lab"  # also looks for a new member of a kind, with adaptive negatives: the search whose time is published


def cost(bench: Bench, chosen: Sequence[str], preset: str = "menagerie", compared: int = COMPARED) -> Result:
    """Time DisTok and ``chosen`` methods on the first ``compared`` held-out pairs, or as many as there are, one picture each.

    Nothing is kept from earlier runs.

    The methods take turns pair by pair, so that a machine that grows slower does so for all, and another one begins each time:
    who follows a long search finds cold caches. A first round with one pair that is not counted loads kernels and trains what
    is trained once for all concepts. ConceptLab also looks for a new member of a kind in each round, which is what it is for; to
    DisTok that is a random latent, decoded in the time of a mix.
    """
    pairs = [case for case in bench.cases if case.kind == "pair"][: compared + 1]
    pairs = pairs * 2 if len(pairs) == 1 else pairs
    methods = {name: baseline(name, preset) for name in ("distok", *chosen)}
    entries = {method.title: (method, False) for method in methods.values()}
    if OPEN in methods:
        entries[f"{methods[OPEN].title}, a new {bench.kind.names[0]}"] = methods[OPEN], True
    taken: dict[str, list[Any]] = {title: [] for title in entries}
    absent: dict[str, Absent] = {}
    for done, case in enumerate(pairs):
        turns = list(entries.items())
        first = done % len(turns)
        for title, (method, free) in turns[first:] + turns[:first]:
            bench.darkroom.tell(f"cost: {title}", done, len(pairs))
            if title not in absent:
                try:
                    taken[title].append(_one(bench, method, bench.kind if free else case.asked, case.seeds(1)))
                except UnavailableError as error:
                    absent[title] = Absent(title, str(error))
    rows = {title: _row(each) for title, each in taken.items() if title not in absent}
    for method in methods.values():
        if method.needs_model and method.title in rows:
            rows[method.title]["once"] = None  # not nothing: its training was before, and is not timed here
    own = np.array(rows[DISTOK]["each"])
    figures: dict[str, Any] = {title: row | {"times DisTok": _ratio(row["each"] / own)} for title, row in rows.items()}
    lines = tuple(
        (title, *(number(row[key]) for key in ("once", "concept", "seconds")), _times(row["times DisTok"]))
        for title, row in figures.items()
    )
    heads = ("method", "once for all, s", "concept alone, s", "mix to first picture, s ↓", "times DisTok")
    kind = "pairs" if bench.met(pairs) else "held-out pairs"
    note = f"Median of {len(pairs) - 1} {kind}, one picture each, in one run; {_machine()}. Times DisTok: pair by pair, the "
    note += "geometric mean of the ratios and its 95 % interval. –: a DisTok comes trained."
    note += f" The search for a new {bench.kind.names[0]} is the same in each round." if OPEN in methods else ""
    record = {"methods": figures, "absent": {each.title: each.reason for each in absent.values()}, "machine": _machine()}
    return Result("cost", record, (Table("Time per concept", heads, lines, note), *absent_table(list(absent.values()))))


def _one(bench: Bench, method: Baseline, asked: Distribution, seeds: Sequence[int]) -> Any:
    return method.make(bench.backend, bench.rulers.labeler, asked, seeds, names=bench.names, model=bench.model)


def _row(outcomes: Sequence[Any]) -> dict[str, Any]:
    counted = outcomes[1:]
    return {
        "once": max(each.once_seconds for each in outcomes),
        "concept": median(each.concept_seconds for each in counted),
        "seconds": median(each.seconds for each in counted),
        "each": [each.seconds for each in counted],
    }


def _ratio(ratios: np.ndarray) -> Interval:
    """The geometric mean of ratios: an interval of their logarithms never goes below nothing."""
    logs = bootstrap(np.log(ratios))
    return Interval(*(float(np.exp(end)) for end in (logs.mean, logs.low, logs.high)))


def _times(ratio: Interval) -> str:
    return f"{ratio.mean:.1f} [{ratio.low:.1f}, {ratio.high:.1f}]"


def _machine() -> str:
    import torch

    return f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
