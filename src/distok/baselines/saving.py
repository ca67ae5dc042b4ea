"""What a baseline leaves on disk: pictures, its concept where it makes one, a contact sheet, and how it was made."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.baselines.base import Baseline, Outcome
from distok.distribution import Distribution, js, kl, mean
from distok.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTCOME = "baseline.json"


def describe(method: Baseline) -> dict[str, Any]:
    """Name, title, source and settings of a method, JSON-able."""
    return {"method": method.name, "title": method.title, "source": method.source, "settings": asdict(method.settings)}


def save_outcome(method: Baseline, mix: Distribution, outcome: Outcome, folder: str | Path) -> dict[str, Any]:
    """Write what was made of a mix into ``folder``; return the record of ``distok baseline --json``, not yet measured."""
    from distok.concept import contact_sheet, write_picture
    from distok.gallery import CONCEPT, SHEET

    folder = Path(folder)
    named = zip(outcome.seeds, outcome.pictures, strict=True)
    paths = [write_picture(folder / f"{method.name}-{seed}.png", picture) for seed, picture in named]
    record = {
        **describe(method),
        "asked": mix.as_dict(),
        "measured": None,
        "kl": None,
        "js": None,
        "seeds": list(outcome.seeds),
        "pictures": [str(path) for path in paths],
        "sheet": str(write_picture(folder / SHEET, contact_sheet(outcome.pictures))),
        "concept": None if outcome.concept is None else str(outcome.concept.save(folder / CONCEPT)),
        "seconds": {
            "once": outcome.once_seconds,
            "concept": outcome.concept_seconds,
            "pictures": outcome.picture_seconds,
            "per_concept": outcome.seconds,
        },
        "details": dict(outcome.details),
    }
    return _written(record, folder)


def save_readings(
    record: dict[str, Any], mix: Distribution, readings: "Sequence[Distribution]", folder: str | Path
) -> dict[str, Any]:
    """Write what a labeler read of each picture into the record of :func:`save_outcome`; return it."""
    measured = mean(readings)
    read = {"measured": measured.as_dict(), "kl": kl(mix, measured), "js": js(mix, measured)}
    return _written(record | read, Path(folder))


def _written(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    write_text(folder / OUTCOME, json.dumps(record, indent=2) + "\n")
    return record
