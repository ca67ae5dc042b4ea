"""Every method of the literature beside DisTok: fidelity, diversity, what the artist's parts say, and every scorer at hand.

Shapes: n pictures of a method, k classes, f features, z zones.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distok.baselines import BASELINES
from distok.concept import digest
from distok.errors import DistokError
from distok.evaluation.cases import ARTIST, Bench
from distok.evaluation.contest import Item, show
from distok.evaluation.exploration import TAU
from distok.evaluation.fidelity import absent_table, page, play, tables
from distok.evaluation.report import Result, Table, number, share
from distok.evaluation.statistics import Interval, bootstrap, jackknife
from distok.files import write_text
from distok.scorers import KINDS, Missing, NotFiniteError, Scorer, ScorerSettings, located, open_scorers
from distok.scorers.parts import faithfulness, novelty
from distok.scorers.sets import SCALES, duplicates, frechet, kernel_distance, mean_distance, vendi

SCORING_REVISION = 1  # raised with every change of what scorers are asked, or of how they see a picture
RIVALS = tuple(name for name in BASELINES if name != "distok")
SETS = {  # heading, and how to print it
    "creature": ("creature ↑", share),
    "novel": (f"novel: max p < {TAU} ↑", share),
    "vendi": ("Vendi ↑", number),
    "distance": ("mean distance ↑", number),
    "duplicates": ("duplicates ↓", share),
    "frechet": ("Fréchet to the artist ↓", number),
    "kid": ("kernel distance ↓", number),
    "part faithfulness": ("part faithfulness ↑", number),
    "part novelty": ("part novelty ↑", number),
}


def methods(
    bench: Bench,
    folder: Path,
    seeds: int = 10,
    cases: int | None = None,
    chosen: Sequence[str] = RIVALS,
    preset: str = "menagerie",
    scorers: Mapping[str, str | Path | None] | None = None,
    device: str = "cpu",
    beside: Path | None = None,
) -> Result:
    """Run ``chosen`` methods beside DisTok over the evaluation cases and give every number there is.

    Args:
        bench: what to measure, and with what.
        folder: where items and pictures are kept.
        seeds: pictures a case.
        cases: how many of the cases, spread evenly; None for all.
        chosen: names in ``distok.baselines``.
        preset: of their settings.
        scorers: kinds of ``distok.scorers.KINDS`` with their folders; all kinds by default, those that are not here as missing.
        device: of the scorers.
        beside: a report of this suite whose rows of other methods are taken over, see :func:`distok.evaluation.beside.load`.
    """
    match = play(bench, folder, "methods", chosen, seeds, cases, preset, beside)
    figures, items, taken = match.figures, match.items, match.beside
    made = [*tables(figures)]
    if bench.rulers.evaluator is not None:
        artist = items.get(ARTIST)  # the very same pictures are at no distance, which says nothing
        fresh = {title: set_measures(bench, each, None if each is artist else artist) for title, each in items.items()}
        figures["sets"] = {title: (fresh | taken.sets)[title] for title in match.titles if title in fresh | taken.sets}
        made.append(_set_table(figures["sets"]))
    wanted = dict.fromkeys(KINDS) if scorers is None else scorers
    figures |= {"scorers": {}, "scored by": {}}
    for kind, path in wanted.items():
        found, by = _score(bench, items, kind, path, folder, device)
        if isinstance(found, dict):
            figures["scored by"][kind] = by
            found |= taken.scorers.get(kind, {}) if taken.scored_by.get(kind) == by else {}
            found = {title: found[title] for title in match.titles if title in found}
        figures["scorers"][kind] = found
    if figures["scorers"]:
        made.append(_scorer_table(figures["scorers"]))
    made += absent_table(match.absent) + taken.table
    return Result("methods", figures, tuple(made), match.records, {"methods.png": page(match)})


def set_measures(bench: Bench, items: Sequence[Item], artist: Sequence[Item] | None) -> dict[str, Any]:
    """Measures of all pictures of a method as one set, by the evaluator; distances to the artist's pictures of the same mixes."""
    from distok.menagerie.species import NAMES

    # Pictures of one case are pictures of one concept: the case is what is drawn again or left out, not the picture.
    found: dict[str, Any] = {
        "creature": bootstrap([float((item.looks["creature"] > 0.5).mean()) for item in items]),
        "novel": bootstrap([float((item.readings["evaluator"].max(1) < TAU).mean()) for item in items]),
        "vendi": _of_sets("vendi", vendi, items),
        "distance": _of_sets("distance", mean_distance, items),
        "duplicates": _of_sets("duplicates", duplicates, items),
    }
    if artist is not None:
        found |= {
            "frechet": _of_sets("frechet", frechet, items, artist),
            "kid": _of_sets("kid", kernel_distance, items, artist),
        }
    owners = [[[NAMES[i] for i in row] for row in item.looks["owners"]] for item in items]
    wanted = [item.case.asked.as_dict() for item in items]
    found["part faithfulness"] = bootstrap(
        [np.mean([faithfulness(row, mix) for row in rows]) for rows, mix in zip(owners, wanted, strict=True)]
    )
    found["part novelty"] = bootstrap([np.mean([novelty(row) for row in rows]) for rows in owners])
    return found


def _of_sets(name: str, measure: Callable[..., float], *sides: Sequence[Item]) -> Interval:
    """A measure of the features of all pictures, with its interval over cases: one is left out on every side at a time."""

    def of(kept: list[int]) -> float:
        return measure(*(np.concatenate([side[i].looks["features"] for i in kept]) for side in sides))

    return jackknife(of, len(sides[0]), SCALES[name].low, SCALES[name].high)


def _set_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = [key for key in SETS if any(key in row for row in figures.values())]
    rows = tuple((title, *(_cell(key, row.get(key)) for key in keys)) for title, row in figures.items())
    note = (
        "All pictures of a method as one set, by the evaluator's features and zones; Fréchet and kernel distance to the "
        "artist's pictures of the same mixes. Intervals: over cases, 95 %; one without width says that all cases were alike. "
        "Those of Vendi, distances and duplicates leave out a case at a time, as cases drawn twice would be duplicates."
    )
    return Table("Sets of pictures", ("method", *(SETS[key][0] for key in keys)), rows, note)


def _cell(key: str, value: Interval | None) -> str:
    text = SETS[key][1]
    return "–" if value is None else f"{text(value.mean)} [{text(value.low)}, {text(value.high)}]"


def _score(
    bench: Bench, items: Mapping[str, Sequence[Item]], kind: str, path: str | Path | None, folder: Path, device: str
) -> tuple[dict[str, Interval] | str, str]:
    """Mean score of each method's first pictures by one scorer, or why there is none; and which. One is in memory at a time."""
    scorer = open_scorers({kind: path}, ScorerSettings(device=device))[kind]
    if isinstance(scorer, Missing):
        return scorer.reason, ""
    kept = folder / "scores" / f"{kind}-{digest(scorer.hash, located({kind: path})[kind], str(SCORING_REVISION))}.json"
    found = {}
    for done, (title, each) in enumerate(items.items()):
        bench.darkroom.tell(f"scoring: {kind}", done, len(items))
        try:
            found[title] = bootstrap(_scores(scorer, title, each, kept))
        except NotFiniteError as reason:
            return str(reason), ""
    return found, digest(scorer.hash, str(SCORING_REVISION))


def _scores(scorer: Scorer, title: str, items: Sequence[Item], path: Path) -> list[float]:
    """One score a case. Those of a method are kept at ``path`` when it is done: a run that is stopped asks for none again."""
    kept = _kept_scores(path)
    names = [
        "/".join((item.paths[0].parent.parent.name, item.paths[0].name)) for item in items
    ]  # holds all that decides a picture
    fresh = [i for i, name in enumerate(names) if name not in kept]
    if fresh:
        pictures = [show(items[i]) for i in fresh]
        if None in pictures:
            raise DistokError(
                f"pictures of {title} are gone from the report's folder; delete its items there and run again, or leave the "
                "scorers out"
            )
        scores = scorer(pictures, [said(items[i]) for i in fresh]).tolist()
        # Read again: another process may have kept those of other methods meanwhile.
        kept = _kept_scores(path) | kept | {names[i]: value for i, value in zip(fresh, scores, strict=True)}
        write_text(path, json.dumps(kept, indent=0, sort_keys=True) + "\n")
    return [kept[name] for name in names]


def _kept_scores(path: Path) -> dict[str, float]:
    try:
        kept: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        return {}  # none yet, or damaged: they are asked for again


def said(item: Item) -> str:
    """What an alignment scorer is asked about an item's picture: its classes in words, the heaviest first."""
    names = [name for name, _ in item.case.asked.top(len(item.case.asked.names))]
    return f"a photo of a creature that is a mix of {' and '.join(names)}" if len(names) > 1 else f"a photo of a {names[0]}"


def _scorer_table(figures: Mapping[str, Any]) -> Table:
    rows = []
    for kind, found in figures.items():
        if isinstance(found, str):
            rows.append((kind, f"missing: {found}", ""))
        else:
            rows += [(kind, title, str(value)) for title, value in found.items()]
    note = "First picture of each case; mean over cases with 95 % interval. What is missing was not measured."
    return Table("Scorers", ("scorer", "method", "score"), tuple(rows), note)
