"""The ``distok`` command: one Typer app, and what becomes of errors. Commands import what is heavy when they run."""

import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from distok.cli import (
    backends,
    baseline,
    batch,
    create,
    demo,
    doctor,
    evaluate,
    explore,
    export,
    import_,
    judge,
    read,
    score,
    study,
    train,
    world,
)
from distok.errors import DistokError

AGAIN = 5.0  # seconds
RESUMED = ("batch", "train", "evaluate", "judge", "world train")  # these go on where they were stopped

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command("create")(create.create)
app.command("batch")(batch.batch)
app.command("explore")(explore.explore)
app.command("read")(read.read)
app.command("score")(score.score)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("import")(import_.import_)
app.command("evaluate")(evaluate.evaluate)
app.command("baseline")(baseline.baseline)
app.command("backends")(backends.backends)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(judge.app, name="judge")
app.add_typer(study.app, name="study")
app.add_typer(world.app, name="world")


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Creative generation by class distribution: weights over named classes become one reusable token.

    Try: [bold]distok create "pig=0.55, sheep=0.25, snake=0.2"[/bold]
    """
    if version:
        from distok import __version__

        print(f"distok {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command line: exit status 2 and one line on stderr for a user's mistake, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our signs shows others, it does not stop us
    gc.set_threshold(200_000, 20, 20)  # an import makes no garbage, and looking for it took a twelfth of a cold start
    try:
        with _persistent():
            status = app(standalone_mode=False, prog_name="distok")
        sys.stdout.flush()
    except DistokError as error:
        status = _say(str(error), 2)
    except BrokenPipeError:  # the reader of our output, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:  # such as a folder that may not be looked into, or a name that is too long
        reason = error.strerror or error
        place, advice = (f"cannot use {error.filename}", "choose another path") if error.filename else ("stopped", "see to that")
        status = _say(f"{place} ({reason}); {advice}, and run the command again", 2)
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of Typer's usage errors: a bug, shown in full
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "distok"
        text = error.format_message()  # empty where help was shown because nothing was asked
        status = _say(f"{text.rstrip('.')}; see '{command} --help'", 2) if text else 2
    if status == 130:
        resumed = " ".join(sys.argv[1:3]).startswith(RESUMED)
        _say("stopped; run the same command again to go on" if resumed else "stopped", 130)
    raise SystemExit(status if isinstance(status, int) else 0)


@contextmanager
def _persistent() -> Iterator[None]:
    """Ctrl-C is raised again every few seconds until it ends the command: libraries have places that catch whatever comes."""
    listening = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a background job does not
    if not listening or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGALRM)

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGALRM) is interrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _say(text: str, status: int) -> int:
    print(f"distok: {' '.join(text.split())}", file=sys.stderr)
    return status
