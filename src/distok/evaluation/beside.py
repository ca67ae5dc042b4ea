"""Rows of another report beside new ones: what another DisTok leaves as it is need not be drawn for hours again.

Shapes: c cases.
"""

import csv
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.baselines import Baseline, baseline
from distok.errors import DistokError
from distok.evaluation.cases import Bench
from distok.evaluation.report import Table, strips
from distok.evaluation.statistics import Interval

if TYPE_CHECKING:
    from PIL import Image

SUITE = "methods"
WORDS = ("method", "reader", "kind", "asked", "measured")  # columns of the CSV file that are no numbers
ALIKE = ("seeds", "cases", "preset")
PIPELINE = "pipeline, guidance or steps"  # one hash has all of them


@dataclass(frozen=True, eq=False)
class Beside:
    """What a report says of the methods that another one leaves out; all of it by title.

    Attributes:
        records: one a method, reader and case.
        sets: measures of all pictures as one set.
        scorers: the mean score, by kind of scorer and then by title.
        origins: the commit whose pictures they are, and where the rows were.
        pictures: rows of the page of pictures.
        settings, revisions: of the methods, by name.
    """

    records: tuple[dict[str, Any], ...] = ()
    sets: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    scorers: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pictures: "Mapping[str, Image.Image]" = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)

    @property
    def table(self) -> tuple[Table, ...]:
        """Whose rows were taken over, for people; none where there are none."""
        rows = tuple((title, each["report"], each["commit"] or "unknown") for title, each in self.origins.items())
        note = "Not measured again: same pipeline, readers, cases, seeds and settings; figures of cases to six digits."
        return (Table("Taken over from another report", ("method", "report", "commit"), rows, note),) if rows else ()


def load(folder: Path, bench: Bench, settings: Mapping[str, Any], made: Collection[str]) -> Beside:
    """The rows of the report in ``folder`` for methods that are not among those ``made`` here.

    Args:
        folder: written by ``distok evaluate methods --out``.
        bench: what is measured now.
        settings: of the new report.
        made: titles that are measured now.

    Raises:
        DistokError: no such report, one that does not compare, or one without anything to take over.
    """
    try:
        stored = json.loads((folder / f"{SUITE}.json").read_text(encoding="utf-8"))
        asked = stored["origin"]["asked"]
        told: Mapping[str, str] = stored["settings"][SUITE]
        rows = _rows(folder / f"{SUITE}.csv")
        _check(folder, _deciding(stored["settings"], asked["hashes"]), _deciding(settings, bench.hashes))
        mixes = {(case.index, str(case.asked)) for case in bench.spread(settings["cases"])}
        _check(folder, {"mixes": {(row["case"], row["asked"]) for row in rows}}, {"mixes": mixes})
        methods = {name: each for name, each in _unchanged(told, stored, bench, settings).items() if each.title not in made}
        taken = [each.title for each in methods.values()]
        records = tuple(row for title in taken for row in rows if row["method"] == title)
        sets = {title: _intervals(stored["sets"][title]) for title in taken if title in stored.get("sets", {})}
        scorers = {
            kind: {title: Interval(**found[title]) for title in taken if title in found}
            for kind, found in stored.get("scorers", {}).items()
            if isinstance(found, dict)
        }
        first = {"report": str(folder), "commit": stored["origin"]["commit"]}
        origins = {title: stored.get("beside", {}).get(title, first) for title in taken}
        every = list(dict.fromkeys(row["method"] for row in rows))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DistokError):
            raise
        raise DistokError(
            f"{folder} holds no whole report of methods ({error!r}); give a folder that 'distok evaluate methods --out' wrote"
        ) from None
    if not taken:
        raise DistokError(
            f"there is nothing to take over from {folder}: what it holds is measured here, or changes with the DisTok; name "
            "fewer --methods, or leave --beside out"
        )
    names = {name: repr(each.settings) for name, each in methods.items()}
    revisions = {name: each.picture_revision for name, each in methods.items()}
    return Beside(records, sets, scorers, origins, strips(folder / f"{SUITE}.png", every), names, revisions)


def _deciding(settings: Mapping[str, Any], hashes: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a picture and its reading, whatever the method."""
    found = {PIPELINE: hashes["pipeline"], "readers": list(hashes["readers"])}
    return found | {key: settings[key] for key in ALIKE}


def _check(folder: Path, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    if apart := [key for key in mine if mine[key] != theirs[key]]:
        raise DistokError(
            f"the report in {folder} has other {' and '.join(apart)}, so its rows do not compare with these; ask for the same, "
            "or leave --beside out"
        )


def _unchanged(
    told: Mapping[str, str], stored: Mapping[str, Any], bench: Bench, settings: Mapping[str, Any]
) -> dict[str, Baseline]:
    """Methods whose pictures would be the same here: same settings, same revision, and no part of another DisTok."""
    found, hashes = {}, stored["origin"]["asked"]["hashes"]
    revisions = stored["settings"].get("revisions", {})
    for name, its in told.items():
        method = baseline(name, settings["preset"])
        same = its == repr(method.settings) and revisions.get(name, method.picture_revision) == method.picture_revision
        same = same and (not method.needs_model or hashes["model"] == bench.model_hash)
        same = same and (
            not method.needs_features or hashes.get("features", bench.hashes["features"]) == bench.hashes["features"]
        )
        if same and method.title not in stored["absent"]:
            found[name] = method
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: value if key in WORDS else int(value) if key == "case" else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _intervals(found: Mapping[str, Mapping[str, float]]) -> dict[str, Interval]:
    return {key: Interval(**value) for key, value in found.items()}
