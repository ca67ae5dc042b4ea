"""Choices between two: win and loss, Wilson intervals, the sign test, and Bradley–Terry strengths. Shared by judge and study.

Shapes: m methods, r resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from distok import seeds
from distok.errors import DistokError
from distok.evaluation.statistics import FEW, LEVEL, STUDENT, wilson

if TYPE_CHECKING:
    from distok.evaluation.report import Table

PRIOR = 1.0  # half a win each way between every two methods (Haldane–Anscombe): keeps one that never lost finite
RESAMPLES = 1000
_ITERATIONS, _CLOSE, _STRIDE = 200, 1e-10, 1.0  # of Newton's method; the stride keeps it from overshooting


@dataclass(frozen=True)
class Vote:
    """One choice between two methods.

    Attributes:
        first, second: the methods.
        outcome: 1 where the first won, 0 for a tie, -1 where the second won.
        cluster: whose votes belong together (a participant, a case): intervals resample whole clusters.
    """

    first: str
    second: str
    outcome: int
    cluster: str


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact probability of a split at least as uneven as this, if neither were better; 1 without votes."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, float(2 * tail / 2**n))


def bradley_terry(wins: Float[np.ndarray, "*r m m"], prior: float = 0.0) -> Float[np.ndarray, "*r m"]:
    """Natural logarithms of the strengths π of m methods, their mean 0: i beats j with probability π_i / (π_i + π_j).

    Maximum likelihood (Bradley & Terry 1952) by Newton's method on the logarithms, whose likelihood is concave.

    Args:
        wins: entry (i, j) counts how often i won against j; a tie is half a win for each.
        prior: drawn games between every two methods, added to the counts.

    Raises:
        DistokError: without a prior, no finite strengths exist (some methods never lost to, or never met, the others).
    """
    wins = np.asarray(wins, np.float64)
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or not np.isfinite(wins).all() or (wins < 0).any():
        raise DistokError("Bradley-Terry needs a square table of counts, none below 0")
    if prior < 0 or (prior == 0 and not _connected(wins)):
        raise DistokError(
            "some methods never lost to, or never met, the others, so no finite strength fits; give a prior above 0"
        )
    m = wins.shape[-1]
    wins = wins * (1 - np.eye(m)) + prior / 2 * (1 - np.eye(m))
    games = wins + wins.swapaxes(-1, -2)
    logs = np.zeros(wins.shape[:-1])
    for _ in range(_ITERATIONS):
        chance = 1 / (1 + np.exp(logs[..., None, :] - logs[..., :, None]))
        slope = (wins - games * chance).sum(-1)
        weight = games * chance * (1 - chance)
        bend = np.eye(m) * weight.sum(-1)[..., None] - weight + 1 / m  # 1/m: only differences count, so the mean is held at 0
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        step *= np.minimum(1, _STRIDE / np.maximum(np.abs(step).max(-1, keepdims=True), _STRIDE))
        logs = logs + step
        if np.abs(step).max() < _CLOSE:
            break
    centred: Float[np.ndarray, "*r m"] = logs - logs.mean(-1, keepdims=True)
    return centred


def table_of(votes: Sequence[Vote], methods: Sequence[str]) -> Float[np.ndarray, "m m"]:
    """Wins of row over column, a tie half a win for each."""
    wins = np.zeros((len(methods), len(methods)))
    place = {method: i for i, method in enumerate(methods)}
    for vote in votes:
        i, j = place[vote.first], place[vote.second]
        wins[i, j] += (1 + vote.outcome) / 2
        wins[j, i] += (1 - vote.outcome) / 2
    return wins


def pairs(votes: Sequence[Vote], methods: Sequence[str]) -> list[dict[str, Any]]:
    """One record for each two methods that met: wins, losses and ties of the first, the share won and its Wilson interval.

    Share, interval and sign test are over decided votes; ties are counted beside them. They take votes as independent.
    """
    records = []
    for i, first in enumerate(methods):
        for second in methods[i + 1 :]:
            outcomes = [v.outcome if v.first == first else -v.outcome for v in votes if {v.first, v.second} == {first, second}]
            if not outcomes:
                continue
            wins, losses = outcomes.count(1), outcomes.count(-1)
            low, high = wilson(wins, wins + losses)
            share = wins / (wins + losses) if wins + losses else None
            records.append(
                {"method": first, "against": second, "wins": wins, "losses": losses, "ties": outcomes.count(0),
                 "share": share, "low": low, "high": high, "sign_test": sign_test(wins, losses)}
            )  # fmt: skip
    return records


def strengths(votes: Sequence[Vote], methods: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> list[dict[str, Any]]:
    """One record a method, strongest first: its Bradley–Terry strength with a 95 % bootstrap interval over clusters.

    ``strength`` is the logarithm, 0 being the average method; ``chance`` is that of beating such an average method. The interval
    is the percentiles'; up to :data:`FEW` clusters it is Student's, on the bootstrap's standard error, and one alone has no ends.
    """
    by: dict[str, list[Vote]] = {}
    for vote in votes:
        by.setdefault(vote.cluster, []).append(vote)
    tables = np.stack([table_of(group, methods) for group in by.values()])
    best = bradley_terry(tables.sum(0), PRIOR)
    drawn = seeds.rng(seed, "bradley-terry", len(tables)).multinomial(len(tables), [1 / len(tables)] * len(tables), resamples)
    spread = bradley_terry(np.einsum("rc,cij->rij", drawn, tables), PRIOR)
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    if len(tables) <= FEW:  # percentiles of few are too narrow: see distok.evaluation.statistics
        n = len(tables)
        reach = STUDENT[n - 2] * spread.std(0) * math.sqrt(n / (n - 1)) if n > 1 else np.full(len(methods), np.inf)
        low, high = best - reach, best + reach
    records = [
        {"method": method, "strength": float(best[i]), "low": float(low[i]), "high": float(high[i]),
         "chance": 1 / (1 + math.exp(-best[i]))}
        for i, method in enumerate(methods)
    ]  # fmt: skip
    return sorted(records, key=lambda record: -record["strength"])


def tables(met: Sequence[dict[str, Any]], ranked: Sequence[dict[str, Any]], title: str, note: str) -> "tuple[Table, ...]":
    """The records of :func:`pairs` and :func:`strengths`, for people."""
    from distok.evaluation.report import Table, number, share

    rows = tuple(
        (
            record["method"],
            record["against"],
            f"{record['wins']}:{record['losses']}",
            str(record["ties"]),
            share(record["share"]),
            f"{share(record['low'])} to {share(record['high'])}",
            f"{record['sign_test']:.2g}",
        )
        for record in met
    )
    columns = ("method", "against", "win:loss", "ties", "won", "95 % (Wilson)", "p (sign test)")
    ranks = tuple(
        (each["method"], number(each["strength"]), f"{number(each['low'])} to {number(each['high'])}", share(each["chance"]))
        for each in ranked
    )
    return (
        Table(title, columns, rows, "Share, interval and test are over decided votes."),
        Table(
            "Bradley–Terry strength",
            ("method", "strength", "95 %", "beats the average"),
            ranks,
            f"Logarithm, 0 = the average method; 95 % interval over {note}",
        ),
    )


def _connected(wins: Float[np.ndarray, "*r m m"]) -> bool:
    """Whether each method can be reached from each by a chain of wins (Ford 1957), in every resample."""
    reached = (wins > 0) | np.eye(wins.shape[-1], dtype=bool)
    for _ in range(wins.shape[-1].bit_length()):
        reached = np.matmul(reached, reached)
    return bool(reached.all())
