"""What a judge or a study leaves on disk and shows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.files import write_text

if TYPE_CHECKING:
    from distok.evaluation.report import Table


@dataclass(frozen=True)
class Findings:
    """What a judge or a study found.

    Attributes:
        figures: all of it, as JSON-able values.
        tables: for people.
        records: one row a question or a vote, for the CSV file; may be empty.
    """

    figures: dict[str, Any]
    tables: "tuple[Table, ...]"
    records: Sequence[dict[str, Any]]

    def save(self, out: Path, name: str) -> tuple[Path, ...]:
        """Write ``NAME.json`` and, where there are records, ``NAME.csv`` into ``out``."""
        from distok.evaluation.report import csv_text, plain

        paths = [write_text(out / f"{name}.json", json.dumps(plain(self.figures), indent=1, allow_nan=False) + "\n")]
        if self.records:
            paths.append(write_text(out / f"{name}.csv", csv_text(self.records)))
        return tuple(paths)
