"""Is a token itself again in other styles and scenes? The JS to its plain picture, beside the JS between different tokens.

Shapes: t tokens, k classes.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from distok.backends.prompts import PROMPT
from distok.distribution import js
from distok.evaluation.cases import Bench, Case
from distok.evaluation.pictures import Shot
from distok.evaluation.prompts import ELSEWHERE, look_prompts
from distok.evaluation.report import Result, Table, grid
from distok.evaluation.statistics import Interval, bootstrap, jackknife

PLAIN = "plain"


def prompts(bench: Bench) -> dict[str, str]:
    """A prompt for each style, scene and accessory of the Menagerie, in the words of its captions; a few for other pipelines."""
    if not bench.of_menagerie:
        return ELSEWHERE
    return {look: prompt for looks in look_prompts().values() for look, prompt in looks.items() if prompt != PROMPT}


def reuse(bench: Bench, seeds: int = 5, tokens: int = 12) -> Result:
    """Render ``tokens`` of the evaluation cases in every style and scene, ``seeds`` pictures each, and compare the readings."""
    cases = bench.spread(tokens)
    readings, rows = read_all(bench, cases, seeds)
    figures = {who: compare_looks(each) for who, each in readings.items()}
    names = list(next(iter(figures.values()))["looks"])
    heads = ("look", *(f"JS to the plain picture, {who} ↓" for who in figures))
    lines = [(look, *(str(figures[who]["looks"][look]) for who in figures)) for look in names]
    for key, label in (("same", "all looks"), ("repeat", "plain again, other seeds"), ("different", "between different tokens")):
        lines.append((label, *(str(figures[who][key]) for who in figures)))
    note = f"{len(cases)} tokens, {seeds} pictures each, mean readings; nats; 95 % interval over tokens."
    table = Table("One token in many looks", heads, tuple(lines), note)
    page = grid(rows, [str(case.asked).replace(", ", "\n") for case in cases[:10]], cell=96)
    return Result("reuse", figures, (table,), (), {"reuse.png": page})


def read_all(
    bench: Bench, cases: list[Case], seeds: int
) -> tuple[dict[str, dict[str, Float[np.ndarray, "t k"]]], dict[str, list]]:
    """Mean readings [reader][look] of every token, and the first pictures of each look; "repeat" is plain with other seeds."""
    tokens = [bench.token(case.asked) for case in cases]
    readings: dict[str, dict[str, np.ndarray]] = {who: {} for who in bench.rulers.who}
    rows = {}
    for look, prompt in {PLAIN: PROMPT, "repeat": PROMPT, **prompts(bench)}.items():
        numbers = [[seed + (seeds if look == "repeat" else 0) for seed in case.seeds(seeds)] for case in cases]
        shots = [Shot(prompt, seed, token) for token, row in zip(tokens, numbers, strict=True) for seed in row]
        pictures = bench.darkroom.develop(f"reuse: {look}", shots)
        if look != "repeat":
            rows[look] = pictures[::seeds][:10]
        for who in bench.rulers.who:
            readings[who][look] = bench.rulers.read(who, pictures).reshape(len(cases), seeds, -1).mean(1)
    return readings, rows


def compare_looks(readings: dict[str, Float[np.ndarray, "t k"]]) -> dict[str, Any]:
    """JS of every look to plain (``looks``, ``same`` over all), of plain to itself (``repeat``), and between tokens."""
    plain = readings[PLAIN]
    apart = {look: [js(a, b) for a, b in zip(each, plain, strict=True)] for look, each in readings.items() if look != PLAIN}
    repeat: Interval = bootstrap(apart.pop("repeat"))
    between = np.array([[js(one, other) for other in plain] for one in plain])
    return {
        "looks": {look: bootstrap(each) for look, each in apart.items()},
        "same": bootstrap(np.mean(list(apart.values()), axis=0)),
        "repeat": repeat,
        # A token is in many pairs, so it is the token that is left out, with all of its pairs.
        "different": jackknife(lambda kept: _mean_of_pairs(between[np.ix_(kept, kept)]), len(plain), 0.0, float(np.log(2))),
    }


def _mean_of_pairs(between: Float[np.ndarray, "t t"]) -> float:
    """The mean of a symmetric table without its diagonal."""
    return float(between[~np.eye(len(between), dtype=bool)].mean())
