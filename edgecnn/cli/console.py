"""What every command shares: where output goes, and what the exit code means.

People read stderr (progress, notes, errors) and stdout (tables); scripts read stdout, which under ``--json`` holds one
JSON document and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, JustifyMethod
from rich.progress import Progress, track
from rich.table import Table
from rich.text import Text

from edgecnn.errors import (
    BundleError,
    CalibrationError,
    DataError,
    EdgecnnError,
    EngineError,
    MissingEngineError,
    ModelError,
    OptionError,
    SinkError,
    SourceError,
    VerificationError,
)

Item = TypeVar("Item")

WORD_STYLES = {"exact": "bold green", "equivalent": "bold yellow", "failed": "bold red"}
"""How the words of a proof are shown, see `edgecnn.proof`."""

EQUIVALENT = 9
UNEXPECTED = 70
"""What sysexits.h calls EX_SOFTWARE: an internal error has been detected."""
INTERRUPTED = 130
TRACEBACK = "EDGECNN_TRACEBACK"
REPORT = (
    f"Please report it in edgecnn's issue tracker, with the command, these lines and what {TRACEBACK}=1 adds to them; "
    "SECURITY.md says how to report what should not be public."
)
PIPE_WIDTH = 240

EXIT_CODES: dict[type[EdgecnnError], int] = {
    VerificationError: 1,
    OptionError: 2,
    ModelError: 3,
    DataError: 4,
    CalibrationError: 4,
    BundleError: 5,
    EngineError: 6,
    SourceError: 7,
    SinkError: 8,
}

EXIT_CODE_HELP = (
    "**Exit codes**: 0 done (of a proof: EXACT), 1 a proof FAILED or an accuracy budget was not kept, 2 wrong usage or "
    "option, 3 model, 4 data or calibration, 5 bundle, 6 engine missing or failed, 7 source of frames, 8 sink of "
    "verdicts, 9 a proof is EQUIVALENT, 70 an unexpected error: please report it, 130 interrupted."
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for scripts.")]


def out() -> Console:
    """Return the console on stdout: results for people. Into a file or a pipe, lines are as long as they need to be."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def err() -> Console:
    """Return the console on stderr: progress, notes, errors."""
    return Console(stderr=True, highlight=False)


def exit_code(error: EdgecnnError) -> int:
    """Return the exit code of an error: that of its nearest ancestor in `EXIT_CODES`, `UNEXPECTED` for others."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), UNEXPECTED)


def fail(error: EdgecnnError) -> int:
    """Print an error as one message on stderr, without a traceback, and return its exit code."""
    note(f"error: {error}")
    return exit_code(error)


def fail_unexpectedly(error: Exception) -> int:
    """Say on stderr what went wrong where nobody had thought of it, and how to report it; return `UNEXPECTED`.

    The traceback is printed too where `TRACEBACK` is set: it is for whoever looks into it.
    """
    if os.environ.get(TRACEBACK):
        note("".join(traceback.format_exception(error)))
    at = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(at[-1].filename).name}, line {at[-1].lineno}" if at else ""
    note(f"error: {type(error).__name__}{place}: {error}")
    note(f"This is an error of edgecnn, not a finding about your model or bundle. {REPORT}")
    return UNEXPECTED


def note(message: str) -> None:
    """Print one line on stderr."""
    err().print(printable(message), markup=False, soft_wrap=True)


def say(text: str, style: str | None = None) -> None:
    """Print text on stdout."""
    out().print(printable(text), style=style, markup=False, soft_wrap=True)


def printable(text: str) -> str:
    """Return ``text`` without control characters: names come from files, and a terminal would obey them.

    Lone surrogates go as well: no terminal can be given one.
    """
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def emit_json(document: Any) -> None:
    """Print ``document`` as JSON on stdout."""
    typer.echo(json.dumps(document, indent=2, sort_keys=True, allow_nan=False))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout.

    Args:
        title: Shown above it; empty for none.
        columns: Headings. A heading that starts with ``>`` makes a right-aligned column, for numbers.
        rows: One sequence per row, as long as ``columns``; values are shown with ``str``.
    """
    shown = Text(printable(title)) if title else None
    grid = Table(title=shown, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        grid.add_column(Text(printable(column.removeprefix(">"))), justify=justify, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(str(value))) for value in row))
    out().print(grid, markup=False)


def share(value: float) -> str:
    """Return a share in per cent, rounded down: what is not all of it never reads as 100 %."""
    return f"{math.floor(value * 1e4 + 1e-9) / 100:.2f}%"


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items`` behind a progress bar on stderr; nothing is drawn where stderr is no terminal."""
    console = err()
    yield from track(items, what, total=total, console=console, disable=not console.is_terminal)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give what moves a progress bar on stderr to a count; nothing is drawn where stderr is no terminal."""
    console = err()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.update(task, completed=count)


@contextmanager
def interrupts(patient: bool = False) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets, beside raising KeyboardInterrupt as always.

    Python drops an exception that is raised while it clears up objects. Who works long looks at the event.

    Args:
        patient: Let the first Ctrl-C set the event and nothing else; the second one raises.
    """
    pressed = threading.Event()

    def press(number: int, frame: FrameType | None) -> None:
        first = not pressed.is_set()
        pressed.set()
        if not (patient and first):
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def needing_packages(what: str) -> Iterator[None]:
    """Say how to get what a device does not have: ``what``, the beginning of a sentence, is work for a desk.

    Raises:
        MissingEngineError: If a package cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise MissingEngineError(
            f"{what} needs packages that are not installed ({error}). Install them: pip install 'edgecnn[export]'"
        ) from error
