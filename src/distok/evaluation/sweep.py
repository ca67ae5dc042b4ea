"""One weight swept from 0 to 1: the measured curve.

Shapes: w weights, k classes.
"""

from typing import Any

import numpy as np

from distok.distribution import Distribution
from distok.evaluation.cases import ARTIST, DISTOK, STRIDE, Bench, Case, artist_pictures, shoot
from distok.evaluation.report import Result, Table, charted, grid, number
from distok.evaluation.statistics import bootstrap

CONTROL = "mean of tokens"
SHOWN = 4  # pairs whose curves and pictures the report shows
COLOURS = {DISTOK: "#c2410c", CONTROL: "#2563eb", ARTIST: "#6b7280"}


def sweep(bench: Bench, seeds: int = 10, pairs: int = 12, points: int = 11) -> Result:
    """Sweep the first class's weight in held-out pairs, for DisTok, the mean of tokens and the artist.

    Args:
        bench: what to measure, and with what.
        seeds: pictures a point.
        pairs: how many pairs; an error is a mean over the weights of a pair, so its interval has as many values.
        points: weights from 0 to 1.
    """
    candidates = [case for case in bench.cases if case.kind == "pair"]
    chosen = [candidates[i].asked.names for i in np.linspace(0, len(candidates) - 1, min(pairs, len(candidates))).astype(int)]
    weights = np.linspace(0, 1, points)
    records, rows = [], {}
    for number_, (first, second) in enumerate(chosen):
        cases = [_point(STRIDE + number_, first, second, float(weight)) for weight in weights]
        tokens = {DISTOK: bench.token, CONTROL: bench.mean_token}
        pictures = {m: shoot(bench, token, cases, seeds, f"sweep: {first} and {second}, {m}") for m, token in tokens.items()}
        if number_ < SHOWN:
            rows[f"{second} to {first}"] = [each[0] for each in pictures[DISTOK]]
        if bench.has_artist:
            pictures[ARTIST] = [artist_pictures(case.asked, case.seeds(seeds)) for case in cases]
        for method, each in pictures.items():
            records += _read(bench, method, (first, second), weights, each)
    methods = list(dict.fromkeys(r["method"] for r in records))
    errors = {who: {m: _errors(records, m, who) for m in methods} for who in bench.rulers.who}
    figures = {who: {m: bootstrap(each) for m, each in by.items()} for who, by in errors.items()}
    for who, by in errors.items():
        figures[who] |= {f"{DISTOK} minus {m}": bootstrap(by[DISTOK] - by[m]) for m in methods if m != DISTOK}
    lines = tuple((m, *(str(figures[who][m]) for who in bench.rulers.who)) for m in next(iter(figures.values())))
    note = f"|measured − asked| of the swept class: mean over {points} weights and {len(chosen)} pairs, 95 % interval over pairs."
    note += f" Differences are paired by pair. Curves and pictures: the first {len(rows)}."
    reader = bench.rulers.who[-1]
    title = f"asked against measured weight, by the {reader}"
    images, gap = charted("sweep-curves.png", lambda axes: _plot(axes, records, reader), len(rows), title)
    heads = ("method", *(f"error by the {who} ↓" for who in bench.rulers.who))
    table = Table("One weight swept", heads, lines, note + gap)
    images["sweep.png"] = grid(rows, [number(weight)[:4] for weight in weights])
    return Result("sweep", figures, (table,), records, images)


def _point(index: int, first: str, second: str, weight: float) -> Case:
    # All points of a pair have the same seeds: along the sweep only the weight changes.
    if weight in (0.0, 1.0):
        return Case(index, "sweep", Distribution((first if weight else second,), (1.0,)))
    return Case(index, "sweep", Distribution((first, second), (weight, 1 - weight)))


def _read(bench: Bench, method: str, pair: tuple[str, str], weights: np.ndarray, pictures: list) -> list[dict[str, Any]]:
    columns = [bench.names.index(name) for name in pair]
    records = []
    for who in bench.rulers.who:
        for weight, each in zip(weights, pictures, strict=True):
            measured = bench.rulers.read(who, each)[:, columns]
            spread = bootstrap(measured[:, 0])
            records.append(
                {"pair": "/".join(pair), "method": method, "reader": who, "asked": float(weight), "measured": spread.mean}
                | {"low": spread.low, "high": spread.high, "other": float(measured[:, 1].mean())}
            )
    return records


def _errors(records: list[dict[str, Any]], method: str, reader: str) -> np.ndarray:
    """One a pair: the weights of a pair are no independent cases."""
    by_pair: dict[str, list[float]] = {}
    for r in records:
        if (r["method"], r["reader"]) == (method, reader):
            by_pair.setdefault(r["pair"], []).append(abs(r["measured"] - r["asked"]))
    return np.array([np.mean(each) for each in by_pair.values()])


def _plot(axes: Any, records: list[dict[str, Any]], reader: str) -> None:
    for axis, pair in zip(axes, dict.fromkeys(r["pair"] for r in records), strict=False):
        axis.plot([0, 1], [0, 1], color="#d6d3d1", linewidth=1)
        for method, colour in COLOURS.items():
            rows = [r for r in records if (r["pair"], r["method"], r["reader"]) == (pair, method, reader)]
            x = [r["asked"] for r in rows]
            axis.plot(x, [r["measured"] for r in rows], color=colour, label=method)
            low, high = (np.clip([r[end] for r in rows], 0, 1) for end in ("low", "high"))  # Student's t knows of no bounds
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set_xlabel(f"asked weight of {pair.split('/')[0]}, rest {pair.split('/')[1]}", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("measured weight", fontsize=8)
    axes[0].legend(fontsize=7, frameon=False)
