"""What a suite leaves on disk: JSON, CSV, a markdown table, pages of pictures, and one HTML page over all of it."""

import base64
import csv
import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.errors import UnavailableError
from distok.evaluation.pictures import encode_png
from distok.evaluation.statistics import Interval
from distok.files import write_bytes, write_text

if TYPE_CHECKING:
    from PIL import Image

    from distok.evaluation.origin import Origin

INDEX = "report.html"
CELL = 128  # side of a picture on a page, in pixels
_MARGIN, _LABEL = 6, 190
_PAPER, _INK = (250, 249, 246), (60, 56, 50)
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#2b2823}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}"
    "td,th{border-bottom:1px solid #ddd;padding:3px 9px;text-align:left;vertical-align:top}"
    ".n{text-align:right;font-variant-numeric:tabular-nums}tr:hover td{background:#f5f3ee}"
    ".wide{overflow-x:auto}img{max-width:100%}p{color:#666}"
)
_FIGURE = re.compile(r"[-−+(]?\d.*|–|")  # a number with what belongs to it, a dash where there is none, or nothing


@dataclass(frozen=True)
class Table:
    """A table for people: one heading a column, cells already as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """As a markdown table under its title."""
        lines = [self.columns, tuple("---:" if each else "---" for each in self._numeric), *self.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"### {self.title}\n\n{text}\n" + (f"\n{self.note}\n" if self.note else "")

    def html(self) -> str:
        """As an HTML table under its title."""
        head = self._html_row(self.columns, "th")
        body = "".join(self._html_row(row, "td") + "\n" for row in self.rows)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f'<h3>{html.escape(self.title)}</h3>\n<div class="wide"><table>{head}\n{body}</table></div>{note}\n'

    def _html_row(self, cells: Sequence[str], tag: str) -> str:
        marks = [' class="n"' if each else "" for each in self._numeric]
        row = "".join(f"<{tag}{mark}>{html.escape(cell)}</{tag}>" for cell, mark in zip(cells, marks, strict=True))
        return f"<tr>{row}</tr>"

    @property
    def _numeric(self) -> list[bool]:
        """Which columns hold figures, to be set flush right: the first never does."""
        return [i > 0 and all(_FIGURE.fullmatch(row[i]) for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Result:
    """What a suite found.

    Attributes:
        suite: its name.
        figures: all of it, as JSON-able values.
        tables: for people.
        records: one row a case, for the CSV file.
        images: PNG files by name.
    """

    suite: str
    figures: dict[str, Any]
    tables: tuple[Table, ...]
    records: Sequence[Mapping[str, Any]] = ()
    images: Mapping[str, bytes] = field(default_factory=dict)

    def save(self, out: Path, origin: "Origin | None" = None) -> Path:
        """Write ``SUITE.md``, ``.csv`` and the images into ``out``, then the page over all suites there, and ``SUITE.json``.

        The JSON file goes first and comes last: where it is, everything is, and of one run.
        """
        for old in (f"{self.suite}.json", f"{self.suite}.csv"):
            (out / old).unlink(missing_ok=True)
        if self.records:
            write_text(out / f"{self.suite}.csv", csv_text(self.records))
        for name, data in self.images.items():
            write_bytes(out / name, data)
        line = "" if origin is None else origin.told()
        parts = [f"## {self.suite}\n", *(table.markdown() for table in self.tables), *(f"![{n}]({n})\n" for n in self.images)]
        write_text(out / f"{self.suite}.md", "\n".join([*parts, *([line + "\n"] if line else [])]))
        body = f'<h2 id="{self.suite}">{self.suite}</h2>\n' + "".join(table.html() for table in self.tables)
        body += "".join(_inline(name, data) for name, data in self.images.items())
        body += f"<p>{html.escape(line)}</p>\n" if line else ""
        write_text(out / f"{self.suite}.html", body)
        page = write_index(out)
        files = [*(f"{self.suite}{end}" for end in (".md", ".html", *([".csv"] if self.records else []))), *self.images]
        told = {} if origin is None else {"origin": origin.record() | {"files": files}}
        stored = {**self.figures, "tables": [asdict(table) for table in self.tables], **told}
        write_text(out / f"{self.suite}.json", json.dumps(plain(stored), indent=1, allow_nan=False) + "\n")
        return page


def _inline(name: str, data: bytes) -> str:
    """A picture inside the page, so that the page can be sent alone."""
    text = base64.b64encode(data).decode()
    return f'<p><img src="data:image/png;base64,{text}" alt="{html.escape(name)}"></p>\n'


def write_index(out: Path) -> Path:
    """One self-contained page over every suite that ``out`` holds."""
    from distok.evaluation.suites import SUITES

    held = [name for name in SUITES if (out / f"{name}.html").is_file()]
    body = "\n".join((out / f"{name}.html").read_text(encoding="utf-8") for name in held)
    links = " · ".join(f'<a href="#{name}">{name}</a>' for name in held)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>DisTok: evaluation</title><style>{_STYLE}</style>"
    return write_text(out / INDEX, f"{head}\n<h1>DisTok: evaluation</h1>\n<p>{links}</p>\n{body}")


def plain(value: Any) -> Any:
    """A value as JSON knows it: intervals and mappings as objects, NumPy numbers as numbers, what is not finite as null."""
    if isinstance(value, Interval):
        return {"mean": plain(value.mean), "low": plain(value.low), "high": plain(value.high)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV, one column a key of the first; numbers to six digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = list(records[0])
    writer.writerow(columns)
    for record in records:
        writer.writerow(f"{record[key]:.6g}" if isinstance(record[key], float) else record[key] for key in columns)
    return buffer.getvalue()


def grid(rows: "Mapping[str, Sequence[Image.Image | None] | Image.Image]", captions: Sequence[str], cell: int = CELL) -> bytes:
    """A PNG page: one labelled row of pictures a key (None leaves a gap), or a row of :func:`strips`; one caption a column."""
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    width, top = _frame(captions, cell)
    page = Image.new("RGB", (width, top + len(rows) * (cell + _MARGIN)), _PAPER)
    draw = ImageDraw.Draw(page)
    for column, caption in enumerate(captions):
        draw.multiline_text((_LABEL + column * (cell + _MARGIN) + 2, 4), caption, _INK, small, spacing=1)
    for row, (label, pictures) in enumerate(rows.items()):
        y = top + row * (cell + _MARGIN)
        if isinstance(pictures, Image.Image):
            page.paste(pictures, (0, y))
            continue
        draw.multiline_text((_MARGIN, y + cell // 3), _wrap(label), _INK, font)
        for column, picture in enumerate(pictures):
            if picture is None:
                continue
            fitted = picture.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS)
            page.paste(fitted, (_LABEL + column * (cell + _MARGIN), y))
    return encode_png(page)


def _frame(captions: Sequence[str], cell: int) -> tuple[int, int]:
    """Width of a page, and where its first row begins."""
    lines = max(caption.count("\n") + 1 for caption in captions) if any(captions) else 0
    return _LABEL + len(captions) * (cell + _MARGIN), _MARGIN + 15 * lines


def strips(path: Path, labels: Sequence[str], captions: Sequence[str], cell: int = CELL) -> "dict[str, Image.Image]":
    """The rows of a page that :func:`grid` made for these labels and captions; none where the file is gone or of another size."""
    from PIL import Image

    try:
        page = Image.open(path).convert("RGB")
    except OSError:
        return {}
    height, (width, top) = cell + _MARGIN, _frame(captions, cell)
    if page.size != (width, top + len(labels) * height):
        return {}
    return {label: page.crop((0, top + i * height, width, top + (i + 1) * height)) for i, label in enumerate(labels)}


def chart(draw: Any, columns: int, title: str) -> bytes:
    """A PNG of ``columns`` plots side by side, filled by ``draw(axes)``.

    Raises:
        DistokError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError("plots need matplotlib; install it with: pip install matplotlib") from None
    figure = Figure(figsize=(3.4 * columns, 3.7), layout="constrained")
    draw(figure.subplots(1, columns, sharey=True, squeeze=False)[0])
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def charted(name: str, draw: Any, columns: int, title: str) -> tuple[dict[str, bytes], str]:
    """A :func:`chart` under its name and nothing to say; where none can be drawn, no image and a sentence that says why."""
    try:
        return {name: chart(draw, columns, title)}, ""
    except UnavailableError as reason:
        return {}, f" No {name}: {reason}."


def number(value: float) -> str:
    """A figure with three digits after the point; whole numbers without."""
    return "–" if value is None or not math.isfinite(value) else f"{value:z.3f}"


def share(value: float) -> str:
    """A share in per cent."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.1%}"


def _wrap(label: str, width: int = 20) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, width))
