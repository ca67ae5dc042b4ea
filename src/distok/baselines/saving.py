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


def save_outcome(
    method: Baseline, mix: Distribution, outcome: Outcome, readings: "Sequence[Distribution]", folder: str | Path
) -> dict[str, Any]:
    """Write what was made into ``folder``; return the record that ``distok baseline --json`` prints.

    Args:
        mix: what was asked.
        readings: of the pictures, in order; empty where nothing read them.
    """
    from distok.concept import contact_sheet, write_picture
    from distok.gallery import CONCEPT, SHEET

    folder = Path(folder)
    named = zip(outcome.seeds, outcome.pictures, strict=True)
    paths = [write_picture(folder / f"{method.name}-{seed}.png", picture) for seed, picture in named]
    measured = mean(readings) if readings else None
    record = {
        **describe(method),
        "asked": mix.as_dict(),
        "measured": measured and measured.as_dict(),
        "kl": None if measured is None else kl(mix, measured),
        "js": None if measured is None else js(mix, measured),
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
    write_text(folder / OUTCOME, json.dumps(record, indent=2) + "\n")
    return record
