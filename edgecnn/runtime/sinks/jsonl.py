"""JSON lines: one line an event, in a file that is rotated and never grows above its cap.

``jsonl:logs/line1.jsonl?max_mb=10&keep=5&every=event&summary=60``. Beside the events there is a line with the loop's
figures every ``summary`` seconds. At most ``keep`` files of ``max_mb`` each exist: ``line1.jsonl``, ``line1.jsonl.1``
and so on, the oldest last.

Every line is given to the operating system at once and survives the end of this process, however it ends; nothing is
forced to the disk, for that wears out SD cards, so a power cut may take the last seconds. What a killed process or a
full disk left of a line is cut off before the next one is written.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from pathlib import Path

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.record import Record, as_record, as_summary, origin_of, time_text
from edgecnn.runtime.sinks import Sink, SinkContext

EXAMPLE = "jsonl:events.jsonl"
_BLOCK = 1 << 16


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that writes lines; see this file's docstring.

    Raises:
        OptionError: If there is no path, or an option is wrong.
        SinkError: If the file cannot be written.
    """
    if not address.path or address.host:
        raise OptionError(f"{address}: expected a file behind 'jsonl:', for example {EXAMPLE}")
    options = address.options()
    limits = int(options.number("max_mb", 10, 0.001, 1e6) * 1e6), options.integer("keep", 5, 1, 1000)
    every = options.choice("every", "event", ("event", "turn"))
    summary = options.number("summary", 60, 0, 1e6)
    options.done()
    log = RotatedLog(Path(address.path), *limits)
    log.try_out()
    return JsonLines(log, every == "turn", summary, context)


class JsonLines:
    """Writes observations and summaries as JSON lines."""

    images = False

    def __init__(self, log: RotatedLog, every_turn: bool, summary: float, context: SinkContext) -> None:
        self.every_turn = every_turn
        self._log, self._summary, self._context = log, summary, context
        self._due = time.monotonic() + summary

    def send(self, observation: Observation) -> None:
        """Write one line."""
        self._log.append(_line(as_record(observation, self._context.run)))

    def idle(self) -> None:
        """Write the figures when they are due."""
        if self._summary and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._summary
            told = {"time": time_text(time.time()), "summary": as_summary(self._context.snapshot())}
            self._log.append(_line(origin_of(self._context.run) | told))

    def close(self) -> None:
        """Close the file."""
        self._log.close()


class RotatedLog:
    """A file of whole lines, and the older ones beside it. One process at a time: the file is locked.

    Args:
        path: The file; its folder is made.
        largest: Bytes that one file may have.
        keep: Files that may exist, the current one included.

    Raises:
        SinkError: If the folder cannot be made.
    """

    def __init__(self, path: Path, largest: int, keep: int) -> None:
        self._path, self._largest, self._keep = path, largest, keep
        self._file: int | None = None
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{path.parent}: cannot be made: {error.strerror}.") from error

    def try_out(self) -> None:
        """Open the file and write half a line that is cut off again, so that what is wrong shows at once.

        Raises:
            SinkError: If it cannot be written, or another process writes it.
        """
        try:
            self._open()
            assert self._file is not None
            # A device or a pipe takes nothing back.
            if stat.S_ISREG(os.fstat(self._file).st_mode):
                os.write(self._file, b" ")
                os.ftruncate(self._file, self._size)
        except OSError as error:
            self.close()
            raise SinkError(f"{self._path}: cannot be written: {error.strerror}.") from error

    def append(self, line: bytes) -> None:
        """Write a line, all of it or nothing.

        Raises:
            SinkError: If the disk is full or the file cannot be written; the next line is tried again.
        """
        try:
            if self._file is None:
                self._open()
            if self._size and self._size + len(line) > self._largest:
                self._rotate()
            self._write(line)
        except OSError as error:
            self.close()
            raise SinkError(f"{self._path}: cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise SinkError(
                f"{self._path}: cannot be written: another process writes it. Give every loop a file of its own."
            ) from error
        self._size = _whole_lines(self._file)
        if self._size < os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._size)

    def _write(self, line: bytes) -> None:
        """Write, and after a failure cut off what was written: the next line begins on a line of its own."""
        assert self._file is not None
        done = 0
        try:
            while done < len(line):
                done += os.write(self._file, line[done:])
        except OSError:
            if done:
                os.ftruncate(self._file, self._size)
            raise
        self._size += done

    def _rotate(self) -> None:
        """Move every file one place on; the last one goes."""
        self.close()
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{age}") for age in range(1, self._keep))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)
        if self._keep == 1:
            self._path.unlink()
        self._open()


def _line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _whole_lines(file: int) -> int:
    """Return where the last whole line of an open file ends, in bytes; 0 if there is none."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - _BLOCK)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
