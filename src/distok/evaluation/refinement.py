"""The closed loop by its price: how much KL for how many renders, for DisTok and for prompt weighting."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distok import selection
from distok.baselines import baseline_class
from distok.baselines.search import Refined
from distok.distribution import Distribution
from distok.errors import UnavailableError
from distok.evaluation.cases import Bench, Case
from distok.evaluation.contest import Absent, Contest, Item
from distok.evaluation.fidelity import absent_table, score, values
from distok.evaluation.report import Result, Table
from distok.evaluation.statistics import Interval, bootstrap

LOOPS = ("distok-refined", "weighting-refined")
MARKS = (1, 2, 3, 5, 8)  # rounds; a single one gives what was asked
NOTE = (
    "Previews, drawn in half of the steps: of the search, once a concept, before any picture that is kept; one round changes "
    "nothing and needs none. Paired by case; an interval that does not hold 0 is a difference. The labeler chose the weights, so "
    "its own reading flatters."
)


@dataclass(frozen=True)
class Search:
    """A refined method on one case: the weights it ends with after each of ``MARKS`` rounds, and what they then show."""

    items: tuple[Item, ...]  # one a mark; their case is what was asked
    given: tuple[Distribution, ...]


def refinement(
    bench: Bench,
    folder: Path,
    seeds: int = 10,
    cases: int | None = None,
    chosen: Sequence[str] = LOOPS,
    preset: str = "menagerie",
    marks: Sequence[int] = MARKS,
) -> Result:
    """Search once as long as the longest of ``marks`` and see where each shorter search would have stopped.

    Every picture, those of the search too, is an item of the method without the loop, so a search that was stopped goes on.

    Raises:
        DistokError: one of ``chosen`` is not a refined method, or there is no labeler.
    """
    if bench.rulers.labeler is None:
        raise UnavailableError("a refinement reads pictures as it goes; give a labeler")
    asked, records, told = bench.spread(cases), [], bench.darkroom.tell
    contest = Contest(bench, folder, preset)
    sketches = Contest(bench, folder, preset, {"steps": selection.preview_steps(bench.backend.defaults.steps)})
    titles: dict[str, int] = {}
    absent: list[Absent] = []
    for name in chosen:
        loop = _loop(contest, name)
        searches = []
        try:
            for done, case in enumerate(asked):
                told(f"refinement: {loop.title}", done, len(asked))
                searches.append(_search(contest, sketches, loop, case, seeds, marks))
        except UnavailableError as error:
            absent.append(Absent(loop.title, str(error)))
            continue
        titles[loop.of.title] = loop.settings.pictures
        told(f"refinement: {loop.title}", len(asked), len(asked))
        for place, rounds in enumerate(marks):
            shown = [search.items[place] for search in searches]
            given = {search.items[place].case.index: str(search.given[place]) for search in searches}
            for record in score(bench, shown, loop.of.title):
                records.append({"rounds": rounds, "given": given[record["case"]], **record})
    figures = {who: _figures(records, who, titles, marks) for who in bench.rulers.who}
    made = tuple(_table(figures[who], who, titles) for who in reversed(bench.rulers.who) if titles)
    record = {
        "by reader": figures,
        "absent": {each.title: each.reason for each in absent},
        "settings": {"seeds": seeds, "cases": len(asked)},
    }
    return Result("refinement", record, (*made, *absent_table(absent)), records)


def _loop(contest: Contest, name: str) -> Refined:
    if not issubclass(baseline_class(name), Refined):
        raise UnavailableError(f"{name} refines nothing; choose {' or '.join(LOOPS)}")
    loop = contest.method(name)
    assert isinstance(loop, Refined)
    return loop


def _search(contest: Contest, sketches: Contest, loop: Refined, case: Case, count: int, marks: Sequence[int]) -> Search:
    plain, names = contest.method(loop.of.name), contest.bench.names

    def look(given: Distribution, numbers: Sequence[int]) -> list[Distribution]:
        shares = sketches.item(plain, replace(case, asked=given), numbers).readings["labeler"]
        return [Distribution.from_vector(names, row) for row in shares]

    found = selection.refine(case.asked, look, max(marks), loop.settings.pictures)
    given = tuple(found.after(rounds) for rounds in marks)
    items = {mix: contest.item(plain, replace(case, asked=mix), case.seeds(count)) for mix in dict.fromkeys(given)}
    return Search(tuple(replace(items[mix], case=case) for mix in given), given)


def _figures(
    records: Sequence[dict[str, Any]], who: str, titles: dict[str, int], marks: Sequence[int]
) -> dict[str, dict[int, dict[str, Interval]]]:
    figures: dict[str, dict[int, dict[str, Interval]]] = {}
    for title in titles:
        by = {rounds: [record for record in records if record["rounds"] == rounds] for rounds in marks}
        start = {metric: values(by[marks[0]], title, who, metric) for metric in ("kl", "js")}
        figures[title] = {}
        for rounds in marks:
            row = {metric: values(by[rounds], title, who, metric) for metric in start}
            figures[title][rounds] = {metric: bootstrap(row[metric]) for metric in row}
            figures[title][rounds] |= {f"{metric} gained": bootstrap(row[metric] - start[metric]) for metric in row}
    return figures


def _table(figures: dict[str, dict[int, dict[str, Interval]]], who: str, titles: dict[str, int]) -> Table:
    rows = []
    for title, by_rounds in figures.items():
        for rounds, row in by_rounds.items():
            previews = 0 if rounds == 1 else rounds * titles[title]
            rows.append((title, str(rounds), str(previews), *(str(row[key]) for key in ("kl", "kl gained", "js", "js gained"))))
    heads = ("method", "rounds", "previews", "KL ↓", "minus plain", "JS ↓", "minus plain")
    return Table(f"The closed loop, by the {who}", heads, tuple(rows), NOTE)
