"""What a person sees: rich tables with bars, progress; and what a program sees: one JSON object on stdout."""

import json
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType
    from rich.table import Table

    from distok.asking import Progress
    from distok.distribution import Distribution
    from distok.evaluation import report

_BAR = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


def console(stderr: bool = False) -> "Console":
    """Return a console that never breaks a path over two lines when its output goes to a file or a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, soft_wrap=not stream.isatty(), width=None if stream.isatty() else 120)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(record, allow_nan=False))


def show(*parts: "RenderableType") -> None:
    """Print for a person, on stdout."""
    out = console()
    for part in parts:
        out.print(part)


def bold(text: object) -> str:
    """Mark text up as bold; brackets in it are no markup."""
    from rich.markup import escape

    return f"[bold]{escape(str(text))}[/bold]"


def command(*words: object) -> str:
    """Return a ``distok`` command line to paste into a shell."""
    from rich.markup import escape

    return escape(shlex.join(["distok", *map(str, words)]))


def opened(
    backend: object, model: object, labeler: object, device: str = "cpu", dtype: str = "auto", offload: str = "auto"
) -> list[str]:
    """The options that open the same again, without those that are left at their defaults."""
    given = [("--backend", backend, None), ("--model", model, None), ("--labeler", labeler, None)]
    given += [("--device", device, "cpu"), ("--dtype", dtype, "auto"), ("--offload", offload, "auto")]
    return [word for option, value, default in given if value != default for word in (option, str(value))]


def show_tables(tables: "Iterable[report.Table]") -> None:
    """Print the tables of a report, each under its title."""
    from rich.table import Table
    from rich.text import Text

    for each in tables:
        table = Table(title=Text(each.title), caption=Text(each.note) if each.note else None, title_justify="left", box=None)
        for column in each.columns:
            table.add_column(Text(column))
        for row in each.rows:
            table.add_row(*map(Text, row))
        show(table, "")


@contextmanager
def progress(title: str, lines: int = 0, shown: bool = True) -> "Iterator[Progress]":
    """Show a progress bar on stderr; yields a callback(done, total).

    Args:
        title: what is going on.
        lines: how often it is told where stderr is no terminal, such as a log file: that many times in all, with the time left.
        shown: whether at all: of several processes one talks.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not shown or not sys.stderr.isatty()
    with Progress(*columns, console=console(stderr=True), transient=True, disable=hidden) as bars:
        task = bars.add_task(title, total=None)
        if not hidden or not shown or not lines:
            yield lambda done, total: bars.update(task, completed=done, total=total)
            return
        yield _milestones(title, lines)


def _milestones(title: str, lines: int) -> "Progress":
    first: list[tuple[float, int]] = []  # when it began, and how much a run before had done

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if not first:
            first.append((now, done))
        began, before = first[0]
        if done > before and done * lines // total > (done - 1) * lines // total:
            left = (now - began) / (done - before) * (total - done)
            print(f"{title}: {done} of {total}, {_told(left)} left", file=sys.stderr, flush=True)

    return report


def _told(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show that something is going on, on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(title):
        yield


def bar(weight: float) -> str:
    """Draw a weight in [0, 1] as a bar of 20 cells."""
    eighths = round(weight * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR)


def mix_table(asked: "Distribution | None", measured: "Distribution | None") -> "Table":
    """Lay what was asked and what was measured side by side; classes that nobody asked for are summed after three."""
    from rich.table import Table
    from rich.text import Text

    wanted = asked.as_dict() if asked else {}
    found = measured.as_dict() if measured else {}
    strays = [name for name, weight in (measured.top(len(found)) if measured else []) if name not in wanted and weight >= 0.01]
    shown = strays[: 8 if asked is None else 3]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("class")
    if asked:
        table.add_column("asked", style="cyan", no_wrap=True)
    if measured:
        table.add_column("measured", style="green", no_wrap=True)
    for name in (*wanted, *shown):
        cells = [_cell(wanted[name]) if name in wanted else ""] if asked else []
        cells += [_cell(found.get(name, 0.0))] if measured else []
        table.add_row(Text(name), *cells, style=None if name in wanted or asked is None else "dim")
    rest = sum(weight for name, weight in found.items() if name not in wanted and name not in shown)
    if rest >= 0.005:
        table.add_row("all others", *([""] if asked else []), _cell(rest), style="dim")
    return table


def _cell(weight: float) -> str:
    return f"{bar(weight)} {weight:6.1%}"


@contextmanager
def stages() -> "Iterator[Callable[..., None]]":
    """Show work of several stages: yields a callback(stage, done, total), a bar a stage on a terminal, else a line a stage."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    err = console(stderr=True)
    with Progress(*columns, console=err, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int = 0, total: int | None = None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
                if bars.disable:
                    err.print(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
