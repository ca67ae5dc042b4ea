"""Does it depend on who reads, on guidance, on the number of steps? DisTok minus its rivals under each of them.

Shapes: c cases.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distok.evaluation.cases import DISTOK, Bench
from distok.evaluation.contest import Absent, Contest, run_all
from distok.evaluation.fidelity import absent_table, score, values
from distok.evaluation.report import Result, Table
from distok.evaluation.statistics import bootstrap

AGAINST = ("mean-of-tokens", "names-by-weight")
METRICS = ("kl", "js")


def settings(bench: Bench) -> dict[str, dict[str, Any]]:
    """The checkpoint's own settings, and half and double of each."""
    own = bench.backend.defaults
    guidance, steps = own.guidance_scale, own.steps
    return {
        f"as is: guidance {guidance:g}, {steps} steps": {},
        f"guidance {guidance / 2:g}": {"guidance_scale": guidance / 2},
        f"guidance {guidance * 2:g}": {"guidance_scale": guidance * 2},
        f"{max(1, steps // 2)} steps": {"steps": max(1, steps // 2)},
        f"{steps * 2} steps": {"steps": steps * 2},
    }


def sensitivity(
    bench: Bench, folder: Path, seeds: int = 2, cases: int | None = 20, chosen: Sequence[str] = AGAINST, preset: str = "menagerie"
) -> Result:
    """Repeat the comparison of fidelity under other guidance scales and step counts, by both readers, paired by case."""
    asked, figures, records, missing = bench.spread(cases), {}, [], []
    for label, options in settings(bench).items():
        contest = Contest(bench, folder, preset, options)
        items, absent = run_all(contest, ("distok", *chosen), asked, seeds, f"sensitivity, {label}")
        missing += [Absent(f"{each.title}, {label}", each.reason) for each in absent]
        found = [record for title in items for record in score(bench, items[title], title)]
        records += [{"setting": label, **record} for record in found]
        figures[label] = {
            who: {
                title: {metric: bootstrap(values(found, title, who, metric)) for metric in METRICS}
                | {
                    f"DisTok minus it, {metric}": bootstrap(
                        values(found, DISTOK, who, metric) - values(found, title, who, metric)
                    )
                    for metric in METRICS
                }
                for title in items
            }
            for who in bench.rulers.who
        }
    count = f"{len(asked)} cases, {seeds} picture{'s' if seeds > 1 else ''} of each."
    made = tuple(_table(figures, who, count) for who in reversed(bench.rulers.who))
    found = {"by setting": figures, "settings": {"seeds": seeds, "cases": len(asked)}}
    found["absent"] = {each.title: each.reason for each in missing}
    return Result("sensitivity", found, (*made, *absent_table(missing)), records)


def _table(figures: dict[str, Any], who: str, count: str) -> Table:
    rows = []
    for label, by_reader in figures.items():
        for title, row in by_reader[who].items():
            apart = "" if title == DISTOK else str(row["DisTok minus it, kl"])
            rows.append((label, title, str(row["kl"]), apart, "" if title == DISTOK else str(row["DisTok minus it, js"])))
    heads = ("setting", "method", "KL (asked ‖ measured) ↓", "DisTok minus it, KL", "DisTok minus it, JS")
    note = f"{count} Paired by case, 95 % interval; a conclusion holds where the sign of the difference does not change."
    return Table(f"Sensitivity, by the {who}", heads, tuple(rows), note)
