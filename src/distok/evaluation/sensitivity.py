"""Does it depend on who reads, on guidance, on the number of steps? DisTok minus its rivals under each of them.

Shapes: c cases.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distok.evaluation.cases import DISTOK, Bench
from distok.evaluation.contest import Contest, run_all
from distok.evaluation.fidelity import score, values
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
    asked, figures, records = bench.spread(cases), {}, []
    for label, options in settings(bench).items():
        contest = Contest(bench, folder, preset, options)
        items, _ = run_all(contest, ("distok", *chosen), asked, seeds, f"sensitivity, {label}")
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
    made = tuple(_table(figures, who) for who in reversed(bench.rulers.who))
    note = {"seeds": seeds, "cases": len(asked)}
    return Result("sensitivity", {"by setting": figures, "settings": note}, made, records)


def _table(figures: dict[str, Any], who: str) -> Table:
    rows = []
    for label, by_reader in figures.items():
        for title, row in by_reader[who].items():
            apart = "" if title == DISTOK else str(row["DisTok minus it, kl"])
            rows.append((label, title, str(row["kl"]), apart, "" if title == DISTOK else str(row["DisTok minus it, js"])))
    heads = ("setting", "method", "KL (asked ‖ measured) ↓", "DisTok minus it, KL", "DisTok minus it, JS")
    note = "Paired by case, 95 % bootstrap; a conclusion holds where the sign of the difference does not change."
    return Table(f"Sensitivity, by the {who}", heads, tuple(rows), note)
