"""Sinks behind threads and bounded queues: whatever a sink does, the loop goes on, and what was lost is counted.

A camera never waits for a sink. A file does, as long as the sink goes on taking something.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from edgecnn.errors import SinkError
from edgecnn.runtime.address import redacted, safe_text
from edgecnn.runtime.loop.fault import Fault
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.statistics import Durations, SinkFigures
from edgecnn.runtime.sinks import ConfirmingSink, Sink

WAITING_EVENTS, WAITING_FRAMES = 1000, 32
"""Observations that may wait for a sink. 32 frames of 720p are 88 MB."""
IDLE_SECONDS = 0.25
HANG_SECONDS = 30.0
"""A sink that takes nothing for so long hangs: a source that waits for the others waits for it no longer."""
CLOSE_SECONDS = 8.0
"""Longest that the end of the loop waits for sinks: they deliver what waits, and promise to close in two to six."""


Patience = Callable[[], bool]
"""Tells, about four times a second, whether to go on waiting for sinks."""


class Outlet:
    """One sink, its queue and its thread.

    Args:
        address: What to call it, without secrets.
        sink: The sink; closed by this.
    """

    def __init__(self, address: str, sink: Sink) -> None:
        self.address, self._sink = address, sink
        self._queue: queue.Queue[Observation] = queue.Queue(WAITING_FRAMES if sink.images else WAITING_EVENTS)
        # Counted by the sink's thread, the loop's, and whoever confirms.
        self._counting = threading.Lock()
        self._offered = self._delivered = self._lost = 0
        self._errors = {"send": "", "idle": ""}
        self._last_error = ""
        self._latency = Durations()
        self._confirming = sink if isinstance(sink, ConfirmingSink) else None
        if self._confirming:
            self._confirming.confirm = self._arrived
        self._fault = Fault(address, logging.getLogger("edgecnn.sink"))
        self._hangs, self._busy_since = False, math.inf
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"edgecnn-{address}", daemon=True)
        self._thread.start()

    def offer(self, observation: Observation, patience: Patience | None = None) -> None:
        """Give an observation to the sink if it wants it. In a full queue the oldest one makes room.

        Args:
            observation: What was seen.
            patience: With it, this waits first until there is room, unless the sink hangs. Without, it never waits.
        """
        self._look_after()
        if not self._sink.every_turn and not observation.is_event:
            return
        if not self._sink.images:
            observation = dataclasses.replace(observation, image=None, tensor=None, memory=None)
        with self._counting:
            self._offered += 1
        while not self._put(observation, patience):
            self._make_room()

    def figures(self) -> SinkFigures:
        """Return what became of what it was given; may be called from any thread."""
        error = self._error()
        with self._counting:
            waiting = self._offered - self._delivered - self._lost
            return SinkFigures(
                self.address,
                self._delivered,
                self._lost,
                waiting,
                error,
                self._latency.histogram(),
                self._last_error,
                bool(self._fault.reason),
            )

    @property
    def fault(self) -> str:
        """Why it fails, or failed until a moment ago; empty if it does not."""
        return self._fault.reason

    def stop(self) -> None:
        """Ask the sink to deliver what waits and to end."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait for the sink's end; one that hangs is left behind, and what it did not take is lost."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            self._lose(self._queue.qsize())

    def join_patiently(self, patience: Patience) -> None:
        """Wait for the sink's end, for as long as something arrives or is lost."""
        seen, deadline = -1, 0.0
        while self._thread.is_alive() and patience():
            done = self._delivered + self._lost
            if done != seen:
                seen, deadline = done, time.monotonic() + HANG_SECONDS
            if time.monotonic() > deadline:
                return
            self._thread.join(IDLE_SECONDS)

    def _put(self, observation: Observation, patience: Patience | None) -> bool:
        """Put an observation into the queue; return whether there was room."""
        with suppress(queue.Full):
            self._queue.put_nowait(observation)
            return True
        deadline = time.monotonic() + HANG_SECONDS
        while patience is not None and not self._hangs and patience():
            with suppress(queue.Full):
                self._queue.put(observation, timeout=IDLE_SECONDS)
                return True
            self._hangs = time.monotonic() > deadline
        return False

    def _look_after(self) -> None:
        """Notice a sink that does not come back; it cannot say so itself."""
        if time.monotonic() - self._busy_since > HANG_SECONDS:
            self._fail("send", f"it hangs: it has not come back for {HANG_SECONDS:g} s")

    def _make_room(self) -> None:
        with suppress(queue.Empty):
            self._queue.get_nowait()
            self._lose(1)
            if not self._error():
                self._fail("send", "its queue is full: it is too slow, or hangs")

    def _work(self) -> None:
        last_idle = time.monotonic()
        while not (self._stopping.is_set() and self._queue.empty()):
            with suppress(queue.Empty):
                self._deliver(self._queue.get(timeout=IDLE_SECONDS))
            if time.monotonic() - last_idle >= IDLE_SECONDS:
                self._idle()
                last_idle = time.monotonic()
        self._guarded("send", self._sink.close)

    def _deliver(self, observation: Observation) -> None:
        self._hangs = False
        if not self._guarded("send", lambda: self._sink.send(observation)):
            self._lose(1)
        elif not self._confirming:
            self._arrived(time.monotonic() - observation.captured)

    def _idle(self) -> None:
        if self._guarded("idle", self._sink.idle):
            self._errors["idle"] = ""
        self._fault.update(self._error())

    def _arrived(self, seconds: float) -> None:
        """Count one that has arrived so long after its frame was read; called from any thread."""
        self._latency.add(seconds)
        # What idling found wrong is over too.
        self._errors.update(send="", idle="")
        with self._counting:
            self._delivered += 1

    def _lose(self, count: int) -> None:
        with self._counting:
            self._lost += count

    def _error(self) -> str:
        """Return what is wrong now, and remember it."""
        trouble = self._confirming.trouble if self._confirming else ""
        error = self._errors["send"] or redacted(trouble) or self._errors["idle"]
        self._last_error = error or self._last_error
        return error

    def _fail(self, step: str, error: str) -> None:
        self._errors[step] = self._last_error = error
        self._fault.update(error)

    def _guarded(self, step: str, work: Callable[[], None]) -> bool:
        """Run a step of the sink; what it raises is kept as text, for a sink's fault must not end its thread."""
        self._busy_since = time.monotonic()
        try:
            work()
        except Exception as error:  # any library may raise anything
            self._fail(step, safe_text(error))
            with self._counting:
                later = error.lost if isinstance(error, SinkError) else 0
                self._lost += later
                # What does not confirm was counted as delivered when it was taken.
                self._delivered -= 0 if self._confirming else later
            return False
        finally:
            self._busy_since = math.inf
        return True


class Outlets:
    """All sinks of a loop.

    Attributes:
        want_images: Whether one of them is given pictures.
    """

    def __init__(self) -> None:
        self._outlets: list[Outlet] = []
        self.want_images = False

    def add(self, address: str, sink: Sink) -> None:
        """Give a sink its queue and thread."""
        self._outlets.append(Outlet(address, sink))
        self.want_images = self.want_images or sink.images

    def offer(self, observation: Observation, patience: Patience | None = None) -> None:
        """Give an observation to every sink that wants it; with ``patience`` it waits for room, see `Outlet.offer`."""
        for outlet in self._outlets:
            outlet.offer(observation, patience)

    def figures(self) -> tuple[SinkFigures, ...]:
        """Return the figures of every sink."""
        return tuple(outlet.figures() for outlet in self._outlets)

    def finish(self, patience: Patience) -> None:
        """Let all sinks deliver what waits, and wait for them while they get on with it; `close` does the rest."""
        for outlet in self._outlets:
            outlet.stop()
        for outlet in self._outlets:
            outlet.join_patiently(patience)

    def lost(self) -> dict[str, str]:
        """Return why sinks fail, by address; those that do not are left out."""
        return {outlet.address: outlet.fault for outlet in self._outlets if outlet.fault}

    def close(self, seconds: float | None = None) -> None:
        """Let all sinks deliver what waits, side by side, and end; those that hang are left behind.

        Args:
            seconds: Longest that this takes; None for `CLOSE_SECONDS`.
        """
        for outlet in self._outlets:
            outlet.stop()
        deadline = time.monotonic() + (CLOSE_SECONDS if seconds is None else seconds)
        for outlet in self._outlets:
            outlet.join(deadline - time.monotonic())
