"""A thread that reads a source, brings it back when it is lost, and is left behind when it hangs.

What drivers and network libraries do in C cannot be interrupted: a read that does not return is abandoned with its
thread, and a fresh source is opened in a new one. `OPEN_SECONDS` and the longest pause together stay below 5 seconds.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from edgecnn.errors import MissingSourceError, SourceError
from edgecnn.runtime.address import redacted, safe_text
from edgecnn.runtime.closing import Closing
from edgecnn.runtime.loop.fault import Fault
from edgecnn.runtime.loop.slot import Slot
from edgecnn.runtime.sources import OPEN_SECONDS, READ_SECONDS, Frame, NoFrame, Source

Answer = TypeVar("Answer")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
STUCK_SECONDS = max(OPEN_SECONDS, READ_SECONDS) + 2.0
"""A call that takes longer will not return: sources promise to give up before."""
GOODBYE_SECONDS = 4.0
"""Longest that the end waits for a source that has to note what was judged."""
MOST_ABANDONED = 3
"""Reads that may hang side by side; with one more only a new process helps."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame and when it was read, or why there is none.

    Attributes:
        frame: The frame, None if this one could not be read.
        error: Why not.
        captured: Seconds on the monotonic clock.
        time: Seconds since 1970.
        judged: To be called when it was judged.
        name: What the source calls it, whether it could be read or not.
    """

    frame: Frame | None
    error: str
    captured: float
    time: float
    name: str = ""
    judged: Callable[[], None] = _nothing


@dataclass(frozen=True)
class CaptureState:
    """How the source is doing.

    Attributes:
        connected: Whether it is open.
        error: Why it is not, or why it was lost the last time; without secrets.
        connects: How often it was opened.
        stuck: How often it hung and was left behind.
        frames: Frames read.
        failing: Whether it is lost, or was within the last seconds.
    """

    connected: bool
    error: str
    connects: int
    stuck: int
    frames: int
    failing: bool


class Capture(Closing):
    """Reads a source in a thread of its own. A context manager.

    Args:
        make: Makes the source; called again when one hangs.
        live: Whether frames come by themselves: then a lost source is tried for ever, unless a package is missing.
            Otherwise what cannot be opened is an error, and the end of the source is the end; one that is ``lasting``
            (see `Source`) is tried again once it was open.
        newest_only: Whether a new frame replaces one that was not taken.
        clock: Returns seconds on the monotonic clock.
        name: What to call the source, without secrets.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        live: bool,
        newest_only: bool,
        clock: Callable[[], float] = time.monotonic,
        name: str = "source",
    ) -> None:
        self._make, self._live, self._newest_only, self._clock = make, live, newest_only, clock
        self._slot: Slot[Shot] = Slot(newest_only)
        self._abandoned: list[_Reader] = []
        self._counts = _Counts()
        self._fault = Fault(name, logging.getLogger("edgecnn.source"), clock)
        self._reader = self._started()

    def take(self, seconds: float) -> tuple[Shot, int] | None:
        """Return the next shot and how many were dropped before it; None if none came in time.

        Raises:
            SourceError: If the source cannot be opened and is not live, or hung so often that only a new process helps.
        """
        found = self._slot.take(seconds)
        if found is None:
            self._supervise()
        return found

    @property
    def ended(self) -> bool:
        """Whether the source came to its end; what was read before may still wait to be taken."""
        return self._reader.ended.is_set()

    def lost_for(self, now: float) -> float:
        """Return for how many seconds a source that was open has been tried in vain; 0 while it is open."""
        since = self._counts.lost_since
        return 0.0 if since is None else now - since

    def state(self) -> CaptureState:
        """Return how the source is doing; may be called from any thread."""
        counts, reader = self._counts, self._reader
        failing = bool(self._fault.reason)
        return CaptureState(reader.connected, counts.error, counts.connects, counts.stuck, counts.frames, failing)

    def close(self) -> None:
        """End the thread. A read that hangs is left behind; its thread closes the source when it returns."""
        self._reader.stop()
        self._slot.close()
        self._reader.join(GOODBYE_SECONDS if self._reader.keeps_account else 1.0)

    def _started(self) -> _Reader:
        reader = _Reader(self._make(), self._live, self._slot, self._counts, self._fault, self._clock)
        reader.start()
        return reader

    def _supervise(self) -> None:
        """Look after the reader when nothing comes."""
        reader = self._reader
        if reader.fatal is not None:
            raise reader.fatal
        if not reader.is_stuck(self._clock()):
            return
        reader.stop()
        self._abandoned = [*(old for old in self._abandoned if old.is_alive()), reader]
        self._counts.stuck += 1
        self._counts.error = f"it hung for {STUCK_SECONDS:g} s and was left behind"
        self._fault.update(self._counts.error)
        if len(self._abandoned) > MOST_ABANDONED:
            raise SourceError(
                f"the source hangs: {len(self._abandoned)} reads never returned. Restart the process; if that does not "
                "help, the camera's driver or cable is at fault."
            )
        self._slot.close()
        self._slot = Slot(self._newest_only)
        self._reader = self._started()


class _Counts:
    """What is counted over all readers; written by the reader at work."""

    def __init__(self) -> None:
        self.connects = self.stuck = self.frames = 0
        self.error = ""
        self.lost_since: float | None = None


class _Reader(threading.Thread):
    """One thread around one source."""

    def __init__(
        self,
        source: Source,
        live: bool,
        slot: Slot[Shot],
        counts: _Counts,
        fault: Fault,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name="edgecnn-capture", daemon=True)
        self._fault = fault
        self._source, self._live, self._slot, self._counts, self._clock = source, live, slot, counts, clock
        self._stopping = threading.Event()
        self._busy_since: float | None = None
        self._tries = self._given = 0
        self.connected = False
        self.ended = threading.Event()
        self.fatal: SourceError | None = None

    def stop(self) -> None:
        """Ask the thread to end after the call it is in."""
        self._stopping.set()

    @property
    def keeps_account(self) -> bool:
        """Whether the source notes what was judged, when it is closed."""
        return hasattr(self._source, "judged")

    def is_stuck(self, now: float) -> bool:
        """Tell whether the call it is in will not return."""
        since = self._busy_since
        return since is not None and now - since > STUCK_SECONDS

    def run(self) -> None:
        """Open, read until it is lost, close, wait, again."""
        while not self._stopping.is_set() and not self.ended.is_set():
            try:
                self._call(self._source.open)
                self._counts.connects += 1
                self._counts.lost_since = None
                self.connected = True
                self._read_all()
            except Exception as error:  # a driver may raise anything; the thread must not die of it
                self._lost(error)
            finally:
                self.connected = False
                with suppress(Exception):
                    self._call(self._source.close)
            if not self.ended.is_set():
                self._stopping.wait(self._pause())
        if self.ended.is_set():
            self._slot.finish()

    def _read_all(self) -> None:
        """Hand over frames until the source ends or is lost."""
        while not self._stopping.is_set():
            frame = self._call(self._source.read)
            if frame is None:
                self.ended.set()
                return
            if isinstance(frame, NoFrame):
                if frame.reason:
                    self._give(None, redacted(frame.reason), frame.name)
                continue
            self._tries = 0
            self._counts.frames += 1
            self._fault.update("")
            self._give(frame, "", frame.name)

    def _call(self, step: Callable[[], Answer]) -> Answer:
        """Call into the source with the time noted, so that a call that hangs is noticed."""
        self._busy_since = self._clock()
        try:
            return step()
        finally:
            self._busy_since = None

    def _give(self, frame: Frame | None, error: str, name: str) -> None:
        if self._stopping.is_set():
            return
        self._given += 1
        hear = getattr(self._source, "judged", None)
        judged = _nothing if hear is None else partial(hear, self._given)
        self._slot.put(Shot(frame, error, self._clock(), time.time(), name, judged))

    def _lost(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self._counts.error = safe_text(error)
        if self._counts.connects and self._counts.lost_since is None:
            self._counts.lost_since = self._clock()
        comes_back = self._live or (self._counts.connects and getattr(self._source, "lasting", False))
        if not comes_back or isinstance(error, MissingSourceError):
            kind = type(error) if isinstance(error, SourceError) else SourceError
            self.fatal = kind(safe_text(error))
            self.ended.set()
        else:
            self._fault.update(self._counts.error)

    def _pause(self) -> float:
        """Return how long to wait before the next try: doubled each time up to the cap, the upper half by chance.

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
        """
        self._tries += 1
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._tries - 1, 10))
        return longest * random.uniform(0.5, 1.0)
