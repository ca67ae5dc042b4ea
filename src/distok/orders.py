"""A list of mixes, read from a file before anything is made of it."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distok.asking import PROMPT, as_distribution, check_count, check_prompt, seeds_from
from distok.distribution import Distribution
from distok.errors import DistokError

COLUMNS = ("mix", "prompt", "n", "seed")


@dataclass(frozen=True)
class Order:
    """What one line of a list asks for.

    Raises:
        DistokError: a prompt without ``{}``, or n or seed out of range.
    """

    mix: Distribution
    prompt: str = PROMPT
    n: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_prompt(self.prompt)
        check_count(self.n)
        seeds_from(self.seed, self.n)


def read_orders(
    path: str | Path, known: Sequence[str] | None = None, any_words: bool = False, prompt: str = PROMPT, n: int = 4, seed: int = 0
) -> list[Order]:
    """Read a mix a line; or, where the name ends in ``.csv``, a table with the columns mix and, if wanted, prompt, n and seed.

    Empty lines are left out, in a text also those that begin with ``#``.

    Args:
        known: the class names; any word without.
        any_words: other names are no mistake.
        prompt, n, seed: of lines that do not say.

    Raises:
        DistokError: the file cannot be read, asks for nothing, has a line that is no order, or two that ask for different
            numbers of the same pictures; the message names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DistokError(f"{path} cannot be read ({reason}); give a text file with one mix a line, or a CSV file") from None
    orders: list[Order] = []
    lines: dict[tuple[str, str, int], tuple[int, int]] = {}  # of what one folder holds, and how many pictures
    for number, cells in _table(path, text) if path.suffix.lower() == ".csv" else _lines(text):
        try:
            mix = as_distribution(cells["mix"], known, strangers=any_words)
            told = {name: _whole(name, cells[name]) for name in ("n", "seed") if cells.get(name)}
            order = Order(mix, cells.get("prompt") or prompt, **{"n": n, "seed": seed, **told})
            first, count = lines.setdefault((str(mix), order.prompt, order.seed), (number, order.n))
            if count != order.n:
                raise DistokError(f"{order.n} pictures of what line {first} asks {count} of; leave one of the two out")
            orders.append(order)
        except DistokError as error:
            raise DistokError(f"{path}, line {number}: {error}") from None
    if not orders:
        raise DistokError(f"{path} asks for nothing; write one mix a line")
    return orders


def _lines(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.strip().startswith("#"):
            yield number, {"mix": line.strip()}


def _table(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        heads = [head.strip().lower() for head in next(rows, [])]
        strangers = [head for head in heads if head not in COLUMNS]
        if "mix" not in heads or strangers or len(set(heads)) < len(heads):
            wrong = f"a column {strangers[0]!r}" if strangers else "no column mix" if "mix" not in heads else "a column twice"
            raise DistokError(f"{path} has {wrong}; its first line names the columns, of {', '.join(COLUMNS)}")
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(heads):
                advice = 'write a mix with commas in quotes, as in "pig=0.5, owl=0.5"'
                raise DistokError(f"{path}, line {rows.line_num}: {len(cells)} cells for {len(heads)} columns; {advice}")
            yield rows.line_num, {head: cell.strip() for head, cell in zip(heads, cells, strict=True)}
    except csv.Error as error:
        raise DistokError(f"{path}, line {rows.line_num}: {error}; correct the table") from None


def _whole(name: str, cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise DistokError(f"{name} is {cell[:40]!r}; give a whole number") from None
