"""What ``run`` and ``demo`` share: a loop that is driven, shown on the terminal and ended cleanly."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from edgecnn.cli import console
from edgecnn.errors import OptionError

if TYPE_CHECKING:
    from edgecnn.runtime.loop.loop import Loop
    from edgecnn.runtime.loop.observation import Observation
    from edgecnn.runtime.loop.statistics import Histogram, Snapshot
    from edgecnn.vision.results import Verdict

STYLES = {"PASS": "bold green", "REJECT": "bold red", "INVALID": "bold yellow"}
LAST_WORD_SECONDS = 1.0
"""How long sinks get to deliver that the loop is stuck, before the process ends."""
STUCK_CODE = 6
LOOK_SECONDS = 0.1
"""How often it is looked whether a run is to end while nothing comes."""


def alive() -> None:
    """Tell systemd that all is well."""
    from edgecnn.runtime.loop.systemd import notify

    notify("WATCHDOG=1")


def give_up(seconds: float) -> None:
    """End the process at once: the engine hangs, and only a new process helps. systemd starts it."""
    from edgecnn.runtime.loop.systemd import notify

    try:
        time.sleep(LAST_WORD_SECONDS)
        message = f"stuck: no sign of life for {seconds:.1f} s; the process ends so that it can be restarted"
        notify(f"STATUS={message}")
        console.note(f"error: {message}")
    finally:
        # Whatever fails, and be it that nobody reads stderr any more. Not sys.exit: the thread that hangs would hold up
        # the interpreter's end.
        os._exit(STUCK_CODE)


def serve_page(loop: Loop, place: str | None) -> None:
    """Start the web page of a loop, and say where it is.

    Raises:
        OptionError: If ``place`` is not HOST:PORT, or is beyond loopback and there is no token.
        SinkError: If what the page needs is not installed, or the port is taken.
    """
    if place is None:
        return
    from edgecnn.runtime.web.page import Page

    host, _, port = place.rpartition(":")
    if not port.isdecimal():
        raise OptionError(f"--serve expects HOST:PORT, e.g. 127.0.0.1:8080, got '{place}'.")
    page = Page(loop.context, host or "127.0.0.1", int(port))
    page.start()
    loop.add(f"page {place}", page)
    console.note(f"web page: {page.url}")


def drive(loop: Loop, quiet: bool, frames: int | None = None, seconds: float | None = None) -> bool:
    """Run a loop to its end, or until a limit or a signal ends it.

    Args:
        loop: The loop; closed at the end.
        quiet: Whether events are not printed.
        frames: Turns after which it ends, None for no limit.
        seconds: Seconds after which it ends, None for no limit.

    Returns:
        Whether Ctrl-C ended it.
    """
    from edgecnn.runtime.loop.systemd import notify

    deadline = float("inf") if seconds is None else time.monotonic() + seconds
    # Signals are waited for until the loop is closed: its end is what tells the outputs to be safe.
    with _signals(loop.stop) as interrupted, loop, _shown(loop, quiet) as show, _stopped_at(deadline, loop.stop):
        for remark in loop.remarks:
            console.note(f"note: {remark}")
        notify("READY=1", f"STATUS=watching {loop.source}")
        for observation in loop:
            show(observation)
            if time.monotonic() >= deadline or (frames is not None and observation.number >= frames):
                break
        notify("STOPPING=1")
    return bool(interrupted)


def summarise(found: Snapshot) -> None:
    """Print the figures of a run as tables."""
    turns = max(found.turns, 1)
    rows = [(name, str(count), f"{count / turns:.1%}") for name, count in found.verdicts.items() if count]
    console.table("verdicts", ("", ">frames", ">share"), rows)
    if any(found.parts.values()):
        console.table("parts", ("", ">parts"), [(name, str(count)) for name, count in found.parts.items()])
    if found.findings:
        why = sorted(found.findings.items(), key=lambda item: -item[1])
        console.table("why INVALID", ("", ">frames"), [(name, str(count)) for name, count in why])
    if found.sinks:
        columns = ("sink", ">delivered", ">lost", "last error")
        rows_of = [(sink.address, str(sink.delivered), str(sink.lost), sink.last_error) for sink in found.sinks]
        console.table("sinks", columns, rows_of)
    console.note(
        f"{found.turns} turns in {found.uptime:.1f} s, {found.dropped} frames dropped for newer ones, source opened "
        f"{found.connects} time(s); age at the verdict: {_mean(found.age)} on average"
    )


def line_of(observation: Observation) -> Text:
    """Return an event as one line for people."""
    moment = datetime.fromtimestamp(observation.time, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    verdict = observation.state if observation.part is None else observation.part.verdict
    text = Text(f"{moment}  ")
    text.append(f"{_word(verdict):8}", STYLES.get(_word(verdict), ""))
    for part in filter(None, _details(observation)):
        text.append(f"  {console.printable(part)}")
    return text


def _details(observation: Observation) -> Iterator[str]:
    part = observation.part
    if part is not None:
        yield f"part {part.number}, {part.frames} frame(s), {part.rejected} rejected, {part.invalid} invalid"
    if observation.result is not None and observation.label is not None:
        yield observation.result.decision.caption
    yield from (f"{finding.kind}: {finding.reason}" for finding in observation.findings)
    if observation.state is not observation.verdict and part is None and observation.changed:
        yield "(nothing decided yet)"
    yield observation.name


def _word(verdict: Verdict | None) -> str:
    return "-" if verdict is None else verdict.value


def _mean(durations: Histogram) -> str:
    return "-" if not durations.count else f"{1e3 * durations.total / durations.count:.1f} ms"


@contextmanager
def _stopped_at(deadline: float, stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at a moment of the monotonic clock, whether or not there is anything to watch by then."""
    ended = threading.Event()

    def wait() -> None:
        while not ended.wait(LOOK_SECONDS):
            if time.monotonic() >= deadline:
                stop()
                return

    thread = threading.Thread(target=wait, name="edgecnn-deadline", daemon=True)
    if deadline < float("inf"):
        thread.start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Let SIGTERM, SIGHUP and the first Ctrl-C end the loop after its turn; a second Ctrl-C interrupts at once.

    Where SIGHUP is ignored, as behind nohup, it stays so. Gives a list that holds a number after Ctrl-C.
    """
    interrupted: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        stop()
        if number == signal.SIGINT:
            interrupted.append(number)
            if len(interrupted) > 1:
                raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(loop: Loop, quiet: bool) -> Iterator[Callable[[Observation], None]]:
    """Give a function that shows an observation: events as lines on stdout, the figures in one line on stderr.

    What is logged meanwhile, cameras and sinks that are lost and back, are lines on stderr.
    """
    out, err = console.out(), console.err()
    if quiet or not err.is_terminal:
        with _logged(console.note):
            yield (lambda observation: None) if quiet else lambda observation: _print_event(observation, out.print)
        return
    with (
        Live(console=err, refresh_per_second=4, transient=True, get_renderable=lambda: _status(loop)) as live,
        _logged(lambda line: live.console.print(line, markup=False, soft_wrap=True)),
    ):
        yield lambda observation: _print_event(observation, live.console.print)


@contextmanager
def _logged(show: Callable[[str], None]) -> Iterator[None]:
    """Show what edgecnn logs, from INFO on."""
    logger, handler = logging.getLogger("edgecnn"), _Lines(show)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Lines(logging.Handler):
    """Shows each record as one line."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record; whoever logs must not suffer from a terminal that is gone."""
        with suppress(OSError):
            self._show(f"{'warning' if record.levelno >= logging.WARNING else 'note'}: {record.getMessage()}")


def _print_event(observation: Observation, show: Callable[[Text], None]) -> None:
    if observation.is_event:
        show(line_of(observation))


def _status(loop: Loop) -> Text:
    found = loop.snapshot()
    source = "connected" if found.connected else "NOT CONNECTED"
    text = Text(f"{loop.source}: {source}  {found.fps:.1f} fps  age {_mean(found.age)}  {found.dropped} dropped  ")
    lost = sum(sink.lost for sink in found.sinks)
    text.append(found.state or "-", STYLES.get(found.state, ""))
    text.append(f"  {lost} lost by sinks" if lost else "")
    failing = ", ".join(sink.address for sink in found.sinks if sink.failing)
    return text.append(f"  NOT DELIVERED: {failing}" if failing else "", STYLES["REJECT"])
