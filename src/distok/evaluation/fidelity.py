"""Does the picture show the mix that was asked for? DisTok beside its rivals, with the artist as the floor.

Shapes: c cases, s pictures of a case, k classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from distok.concept import digest
from distok.evaluation.beside import Beside, load
from distok.evaluation.cases import ARTIST, DISTOK, STRIDE, Bench, Case
from distok.evaluation.contest import CONTROLS, READING_REVISION, Absent, Contest, Item, run_all, show
from distok.evaluation.readings import HEADINGS, HIGHER_IS_BETTER, METRICS, measure
from distok.evaluation.report import Result, Table, grid
from distok.evaluation.statistics import bootstrap

GRID_CASES = 10
REFINED = "DisTok, refined"  # title of distok.baselines.search.DistokRefined
KINDS = ("all", "pair", "weighted")
NOTE = (
    "Mean over cases [95 % interval over cases]. A case's reading is the mean over its pictures; both sides of a KL "
    "are smoothed by 1e-6; nats. top-1: the largest share, and any that ties with it, is (one of) the heaviest asked; "
    "top-k: every class asked has a share, larger than that of any other; Spearman takes shares under 0.01 as 0 on both sides."
)


def fidelity(
    bench: Bench,
    folder: Path,
    seeds: int = 10,
    cases: int | None = None,
    methods: Sequence[str] = CONTROLS,
    preset: str = "menagerie",
) -> Result:
    """Run DisTok and its rivals over the evaluation cases, ``seeds`` pictures a case, the same seeds for all.

    Args:
        bench: what to measure, and with what.
        folder: where items and pictures are kept.
        seeds: pictures a case.
        cases: how many of the cases, spread evenly; None for all.
        methods: the rivals, by their names in ``distok.baselines``.
        preset: of the rivals' settings.
    """
    match = play(bench, folder, "fidelity", methods, seeds, cases, preset)
    made = (*tables(match.figures), *absent_table(match.absent))
    return Result("fidelity", match.figures, made, match.records, {"fidelity.png": page(match)})


@dataclass(frozen=True)
class Match:
    """What DisTok and its rivals made of the same cases, and how well: every suite that compares them begins with one."""

    contest: Contest
    cases: Sequence[Case]
    items: dict[str, list[Item]]  # by title
    absent: list[Absent]
    records: list[dict[str, Any]]
    figures: dict[str, Any]
    beside: Beside  # rows of another report

    @property
    def titles(self) -> list[str]:
        """Of every row, in their order: what was made, what was taken over, the artist."""
        made = [title for title in self.items if title != ARTIST]
        return [*made, *self.beside.origins, *(title for title in self.items if title == ARTIST)]


def play(
    bench: Bench,
    folder: Path,
    stage: str,
    methods: Sequence[str],
    seeds: int,
    cases: int | None,
    preset: str,
    beside: Path | None = None,
) -> Match:
    """Run DisTok and ``methods``, score every item and summarise; the arguments are those of :func:`fidelity`.

    Args:
        beside: a report whose rows of other methods are taken over.
    """
    contest, chosen = Contest(bench, folder, preset), bench.spread(cases)
    settings = {"seeds": seeds, "cases": len(chosen), "first seed of case i": f"{STRIDE} * i", "preset": preset}
    settings["cases that training could mix"] = bench.met(chosen)
    settings["concepts found were held to it"] = bench.found_checked
    settings |= {"classes": digest(json.dumps(bench.names)), "revision of readings": READING_REVISION}
    asked = {name: contest.method(name) for name in ("distok", *methods)}
    # First of all: what does not compare is said before hours of drawing.
    taken, titles = Beside(), [ARTIST, *(each.title for each in asked.values())]
    if beside is not None:
        taken = load(beside, bench, chosen, _captions(chosen), settings, titles)
    items, absent = run_all(contest, tuple(asked), chosen, seeds, stage)
    match = Match(contest, chosen, items, absent, [], {}, taken)
    made = {title: score(bench, items[title], title) for title in items}
    for title in match.titles:
        match.records.extend(made[title] if title in made else [r for r in taken.records if r["method"] == title])
    match.figures.update(summarise(match.records))
    settings["methods"] = {name: repr(each.settings) for name, each in asked.items()} | dict(taken.settings)
    settings["revisions"] = {name: each.picture_revision for name, each in asked.items()} | dict(taken.revisions)
    match.figures["settings"] = settings
    match.figures["absent"] = {each.title: each.reason for each in absent}
    if taken.origins:
        match.figures["beside"] = dict(taken.origins)
    return match


def page(match: Match) -> bytes:
    """One row of pictures a method, for cases spread evenly."""
    made = {title: [show(each[i]) for i in _shown(match.cases)] for title, each in match.items.items()}
    rows = {title: made.get(title, match.beside.pictures.get(title, [])) for title in match.titles}
    return grid(rows, _captions(match.cases))


def _shown(cases: Sequence[Case]) -> Int[np.ndarray, " n"]:
    return np.linspace(0, len(cases) - 1, min(GRID_CASES, len(cases))).round().astype(int)


def _captions(cases: Sequence[Case]) -> list[str]:
    return [str(cases[i].asked).replace(", ", "\n") for i in _shown(cases)]


def score(bench: Bench, items: Sequence[Item], method: str) -> list[dict[str, Any]]:
    """One record for each item and reader."""
    return [record for who in bench.rulers.who for item in items for record in [_record(bench, item, method, who)]]


def _record(bench: Bench, item: Item, method: str, who: str) -> dict[str, Any]:
    readings, case = item.readings[who], item.case
    top = sorted(zip(bench.names, readings.mean(0).tolist(), strict=True), key=lambda pair: -pair[1])[:5]
    return (
        {"method": method, "reader": who, "case": case.index, "kind": case.kind, "asked": str(case.asked)}
        | {"measured": ", ".join(f"{name}={weight:.2f}" for name, weight in top)}
        | measure(case.asked.over(bench.names), readings)
    )


def absent_table(absent: Sequence[Absent]) -> tuple[Table, ...]:
    rows = tuple((each.title, each.reason) for each in absent)
    return (Table("Could not take part", ("method", "why"), rows),) if rows else ()


def values(
    records: Sequence[Mapping[str, Any]], method: str, reader: str, metric: str, kind: str = "all"
) -> Float[np.ndarray, " c"]:
    """A metric case by case, in the order of the cases."""
    chosen = [r for r in records if r["method"] == method and r["reader"] == reader and kind in ("all", r["kind"])]
    return np.array([r[metric] for r in sorted(chosen, key=lambda r: r["case"])])


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Intervals of every metric, and of DisTok minus each control, paired by case: figures[reader][kind]."""
    methods = list(dict.fromkeys(r["method"] for r in records))
    keys = [*METRICS, *(f"each_{key}" for key in METRICS)]
    figures: dict[str, Any] = {}
    for reader in dict.fromkeys(r["reader"] for r in records):
        figures[reader] = {}
        for kind in KINDS:
            if not len(values(records, methods[0], reader, "kl", kind)):
                continue
            by = {m: {key: values(records, m, reader, key, kind) for key in keys} for m in methods}
            figures[reader][kind] = {
                "methods": {m: {key: bootstrap(by[m][key]) for key in keys} for m in methods},
                "minus": _minus(by, DISTOK),
                "refined minus": _minus(by, REFINED),
            }
    return figures


def _minus(by: Mapping[str, Mapping[str, np.ndarray]], ours: str) -> dict[str, Any]:
    """``ours`` minus each other method, paired by case; nothing where ours did not take part."""
    if ours not in by:
        return {}
    return {m: {key: bootstrap(by[ours][key] - row[key]) for key in row} for m, row in by.items() if m != ours}


def tables(figures: Mapping[str, Any]) -> tuple[Table, ...]:
    """For each reader the metrics over all cases, the KL by kind of case, and the paired differences."""
    made, settings = [], figures.get("settings", {})
    met = settings.get("cases that training could mix")
    told = f"{NOTE} Of the {settings['cases']} mixes, this DisTok could meet {met or 'none'} in training" if settings else NOTE
    if settings:
        told += "." if settings["concepts found were held to it"] else ", but in what concepts found on the way showed."
    for reader in (name for name in ("evaluator", "labeler") if name in figures):
        kinds = figures[reader]
        every = kinds["all"]
        rows = tuple((m, *(str(row[key]) for key in METRICS)) for m, row in every["methods"].items())
        made.append(Table(f"Fidelity by the {reader}", ("method", *(_heading(key) for key in METRICS)), rows, told))
        parts = [kind for kind in KINDS[1:] if kind in kinds]
        rows = tuple(
            (m, *(str(kinds[kind]["methods"][m]["kl"]) for kind in parts), str(row["each_kl"]), str(row["each_js"]))
            for m, row in every["methods"].items()
        )
        heads = ("method", *(f"KL, {kind}" for kind in parts), "KL of single pictures", "JS of single pictures")
        made.append(Table(f"By kind of case, and picture by picture ({reader})", heads, rows))
        note = "Paired by case; an interval that does not hold 0 is a difference."
        for ours, key in ((DISTOK, "minus"), (REFINED, "refined minus")):
            rows = tuple(
                (m, *(str(kinds[kind][key][m]["kl"]) for kind in parts), *(str(row[each]) for each in METRICS))
                for m, row in every[key].items()
            )
            heads = ("method", *(f"KL, {kind} ↓" for kind in parts), *(_heading(each) for each in METRICS))
            if rows:
                made.append(Table(f"{ours} minus each ({reader})", heads, rows, note))
    return tuple(made)


def _heading(key: str) -> str:
    return f"{HEADINGS[key]} {'↑' if key in HIGHER_IS_BETTER else '↓'}"
