"""Every method of the literature beside DisTok: fidelity, diversity, what the artist's parts say, and every scorer at hand.

Shapes: n pictures of a method, k classes, f features, z zones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distok.baselines import BASELINES
from distok.errors import DistokError
from distok.evaluation.cases import ARTIST, Bench
from distok.evaluation.contest import Item, show
from distok.evaluation.exploration import TAU
from distok.evaluation.fidelity import absent_table, page, play, tables
from distok.evaluation.report import Result, Table, number, share
from distok.evaluation.statistics import bootstrap
from distok.scorers import KINDS, Missing, open_scorers
from distok.scorers.parts import faithfulness, novelty
from distok.scorers.sets import duplicates, frechet, kernel_distance, mean_distance, vendi

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
    """
    match = play(bench, folder, "methods", chosen, seeds, cases, preset)
    figures, items = match.figures, match.items
    made = [*tables(figures)]
    if bench.rulers.evaluator is not None:
        figures["sets"] = {title: set_measures(bench, each, items.get(ARTIST)) for title, each in items.items()}
        made.append(_set_table(figures["sets"]))
    figures["scorers"] = _score(bench, items, dict.fromkeys(KINDS) if scorers is None else scorers)
    if figures["scorers"]:
        made.append(_scorer_table(figures["scorers"]))
    made += absent_table(match.absent)
    return Result("methods", figures, tuple(made), match.records, {"methods.png": page(items, match.cases)})


def set_measures(bench: Bench, items: Sequence[Item], artist: Sequence[Item] | None) -> dict[str, Any]:
    """Measures of all pictures of a method as one set, by the evaluator; distances to the artist's pictures of the same mixes."""
    from distok.menagerie.species import NAMES

    features = _all(items, "features")
    # Pictures of one case are pictures of one concept: the case is what is drawn again, not the picture.
    found: dict[str, Any] = {
        "creature": bootstrap([float((item.looks["creature"] > 0.5).mean()) for item in items]),
        "novel": bootstrap([float((item.readings["evaluator"].max(1) < TAU).mean()) for item in items]),
        "vendi": vendi(features),
        "distance": mean_distance(features),
        "duplicates": duplicates(features),
    }
    if artist is not None:
        theirs = _all(artist, "features")
        found |= {"frechet": frechet(features, theirs), "kid": kernel_distance(features, theirs)}
    owners = [[[NAMES[i] for i in row] for row in item.looks["owners"]] for item in items]
    wanted = [item.case.asked.as_dict() for item in items]
    found["part faithfulness"] = bootstrap(
        [np.mean([faithfulness(row, mix) for row in rows]) for rows, mix in zip(owners, wanted, strict=True)]
    )
    found["part novelty"] = bootstrap([np.mean([novelty(row) for row in rows]) for rows in owners])
    return found


def _all(items: Sequence[Item], key: str) -> np.ndarray:
    return np.concatenate([item.looks[key] for item in items])


def _set_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = [key for key in SETS if any(key in row for row in figures.values())]
    rows = tuple((title, *(_cell(key, row.get(key)) for key in keys)) for title, row in figures.items())
    note = (
        "All pictures of a method as one set, by the evaluator's features and zones; Fréchet and kernel distance to the "
        "artist's pictures of the same mixes. Intervals: over cases, 95 %; one without width says that all cases were alike."
    )
    return Table("Sets of pictures", ("method", *(SETS[key][0] for key in keys)), rows, note)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    text = SETS[key][1]
    return f"{text(value.mean)} [{text(value.low)}, {text(value.high)}]" if hasattr(value, "low") else text(value)


def _score(bench: Bench, items: Mapping[str, Sequence[Item]], wanted: Mapping[str, str | Path | None]) -> dict[str, Any]:
    """Mean score of each method's first pictures by every scorer that could be opened; why not, for the others."""
    found: dict[str, Any] = {}
    for kind, scorer in open_scorers(wanted).items() if wanted else ():
        if isinstance(scorer, Missing):
            found[kind] = scorer.reason
            continue
        bench.darkroom.tell(f"scoring: {kind}", 0, len(items))
        found[kind] = {}
        for title, each in items.items():
            pictures = [show(item) for item in each]
            if None in pictures:
                raise DistokError(
                    f"pictures of {title} are gone from the report's folder; delete its items there and run again, or leave the "
                    "scorers out"
                )
            found[kind][title] = bootstrap(scorer(pictures, [said(item) for item in each]).double().numpy())
    return found


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
