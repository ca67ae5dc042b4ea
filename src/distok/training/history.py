"""How a run's losses went: a row each few steps, in ``losses.csv`` beside the checkpoints."""

import csv
import io
from pathlib import Path
from typing import Any

import torch

from distok import files
from distok.errors import DistokError

FILE = "losses.csv"
EVERY = 50  # steps a row


class History:
    """Rows so far: the step they end at, and the mean of every loss over the steps since the row before, or since a resume.

    A step without a concept and without fusion has no losses and is left out of the mean.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self._since: list[dict[str, torch.Tensor]] = []

    def add(self, step: int, losses: Any, **state: float) -> None:
        """Take in a step that was made.

        Args:
            step: how many steps were made.
            losses: their dataclass of tensors; None where there were none.
            state: other columns, as they are at that step.
        """
        if losses is not None:
            self._since.append({name: value.detach() for name, value in vars(losses).items()})
        if step % EVERY == 0 and self._since:
            means = {name: torch.stack([each[name] for each in self._since]).mean().item() for name in self._since[0]}
            self.rows.append({"step": str(step), **{name: f"{value:.6g}" for name, value in {**state, **means}.items()}})
            self._since = []

    def save(self, folder: Path) -> None:
        """Write all rows, in place of what was there."""
        if not self.rows:
            return
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self.rows for name in row)  # of a table that was edited, they may differ
        table = csv.DictWriter(text, list(columns), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        files.write_text(folder / FILE, text.getvalue())

    def resume(self, folder: Path, step: int) -> None:
        """Take over the rows up to ``step``; a file that is not a table of steps is left out, and replaced at the next save.

        Raises:
            DistokError: the file is there but cannot be opened.
        """
        path = folder / FILE
        if not path.exists():
            return
        try:
            found = list(csv.DictReader(io.StringIO(path.read_text())))
            if any(None in row for row in found):
                raise ValueError("a row of more cells than columns")
            self.rows = [row for row in found if int(row["step"]) <= step]
        except OSError as error:
            raise DistokError(f"cannot read {path} ({error.strerror or error}); make it readable, or delete it") from None
        except (KeyError, TypeError, ValueError, csv.Error):
            self.rows = []
