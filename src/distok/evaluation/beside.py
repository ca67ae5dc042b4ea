"""Rows of another report beside new ones: what another DisTok leaves as it is need not be drawn for hours again.

Shapes: c cases.
"""

import csv
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.baselines import BASELINES, Baseline, baseline
from distok.errors import DistokError
from distok.evaluation.cases import Bench, Case
from distok.evaluation.readings import METRICS
from distok.evaluation.report import Table, strips
from distok.evaluation.statistics import Interval

if TYPE_CHECKING:
    from PIL import Image

SUITE = "methods"
WORDS = ("method", "reader", "kind", "asked", "measured")  # columns of the CSV file that are no numbers
ALIKE = ("classes", "seeds", "cases", "preset", "revision of readings")
PIPELINE = "pipeline, guidance or steps"  # one hash has all of them


@dataclass(frozen=True, eq=False)
class Beside:
    """What a report says of the methods that another one leaves out; all of it by title.

    Attributes:
        records: one a method, reader and case.
        sets: measures of all pictures as one set.
        scorers: the mean score, by kind of scorer and then by title.
        scored_by: which scorer that was, by kind.
        origins: the commit whose pictures they are, and where the rows were.
        pictures: rows of the page of pictures.
        settings, revisions: of the methods, by name.
    """

    records: tuple[dict[str, Any], ...] = ()
    sets: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    scorers: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    scored_by: Mapping[str, str] = field(default_factory=dict)
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


def load(
    folder: Path, bench: Bench, cases: Sequence[Case], captions: Sequence[str], settings: Mapping[str, Any], made: Collection[str]
) -> Beside:
    """The rows of the report in ``folder`` for methods that are not among those ``made`` here.

    Args:
        folder: written by ``distok evaluate methods --out``.
        bench: what is measured now.
        cases, settings: of the new report.
        captions: of the columns of its page of pictures.
        made: titles that are measured now.

    Raises:
        DistokError: no whole report, one that does not compare, or one without anything to take over.
    """
    try:
        stored = json.loads((folder / f"{SUITE}.json").read_text(encoding="utf-8"))
        rows = _rows(folder / f"{SUITE}.csv")
        _check(folder, _deciding(stored["settings"], stored["origin"]["asked"]["hashes"]), _deciding(settings, bench.hashes))
        methods = {name: each for name, each in _unchanged(stored, bench, settings).items() if each.title not in made}
        found = _taken(folder, stored, rows, [each.title for each in methods.values()])
        _check_rows(folder, found.records, found.origins, bench.rulers.who, cases)
        every = list(dict.fromkeys(row["method"] for row in rows))
    except DistokError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DistokError(
            f"{folder} holds no whole report of methods ({error!r}); give a folder that 'distok evaluate methods --out' wrote"
        ) from None
    if not methods:
        raise DistokError(
            f"there is nothing to take over from {folder}: what it holds is measured here, or changes with the DisTok or the "
            "version; name fewer --methods, or leave --beside out"
        )
    return Beside(
        **vars(found)
        | {
            "pictures": strips(folder / f"{SUITE}.png", every, captions),
            "settings": {name: repr(each.settings) for name, each in methods.items()},
            "revisions": {name: each.picture_revision for name, each in methods.items()},
        }
    )


def _taken(folder: Path, stored: Mapping[str, Any], rows: Iterable[dict[str, Any]], titles: Sequence[str]) -> Beside:
    first = {"report": str(folder), "commit": stored["origin"]["commit"]}
    earlier = stored.get("beside", {})
    origins = {title: {key: str(earlier.get(title, first)[key]) for key in first} for title in titles}
    scorers = {
        kind: {title: _interval(found[title]) for title in titles if title in found}
        for kind, found in stored.get("scorers", {}).items()
        if isinstance(found, dict)
    }
    sets = stored.get("sets", {})
    return Beside(
        tuple(row for title in titles for row in rows if row["method"] == title),
        {title: {key: _interval(value) for key, value in sets[title].items()} for title in titles if title in sets},
        scorers,
        dict(stored.get("scored by", {})),
        origins,
    )


def _deciding(settings: Mapping[str, Any], hashes: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a picture and its reading, whatever the method."""
    found = {PIPELINE: hashes["pipeline"], "readers": list(hashes["readers"])}
    return found | {key: settings.get(key) for key in ALIKE}


def _check(folder: Path, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    if apart := [key for key in mine if mine[key] != theirs[key]]:
        raise DistokError(
            f"the report in {folder} has other {' and '.join(apart)}, so its rows do not compare with these; ask for the same, "
            "or leave --beside out"
        )


def _check_rows(
    folder: Path, records: Sequence[Mapping[str, Any]], titles: Iterable[str], readers: Sequence[str], cases: Sequence[Case]
) -> None:
    """Every case once, by every reader, with every measure: a table that was cut would be found out after hours of drawing."""
    mixes = sorted((case.index, str(case.asked)) for case in cases)
    numbers = [*METRICS, *(f"each_{key}" for key in METRICS)]
    for title in titles:
        for reader in readers:
            mine = [row for row in records if (row["method"], row["reader"]) == (title, reader)]
            _check(folder, {"mixes": sorted((row["case"], row["asked"]) for row in mine)}, {"mixes": mixes})
            if not all(math.isfinite(row[key]) for row in mine for key in numbers):
                raise ValueError(f"figures of {title} that are no numbers")


def _unchanged(stored: Mapping[str, Any], bench: Bench, settings: Mapping[str, Any]) -> dict[str, Baseline]:
    """Methods whose pictures would be the same here: same settings, same revision, and no part of another DisTok."""
    found, hashes, told = {}, stored["origin"]["asked"]["hashes"], stored["settings"]
    for name in (name for name in told["methods"] if name in BASELINES):
        method = baseline(name, settings["preset"])
        same = told["methods"][name] == repr(method.settings) and told["revisions"].get(name) == method.picture_revision
        same = same and (not method.needs_model or hashes["model"] == bench.model_hash)
        same = same and (not method.needs_features or hashes["features"] == bench.hashes["features"])
        if same and method.title not in stored["absent"]:
            found[name] = method
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: value if key in WORDS else int(value) if key == "case" else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _interval(found: Mapping[str, float | None]) -> Interval:
    """An interval as a report has it: what is not finite is null there."""

    def read(key: str, missing: float) -> float:
        value = found[key]
        return missing if value is None else float(value)

    return Interval(read("mean", math.nan), read("low", -math.inf), read("high", math.inf))
