"""Writing that is left to a thread of its own, so that a sink goes on taking turns while the disk is slow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edgecnn.errors import SinkError
from edgecnn.runtime.address import safe_text

Write = Callable[[], object]

END_SECONDS = 1.0
"""Longest that `Backlog.close` waits for the thread; one that hangs is left behind."""


class Backlog:
    """Writes events one after the other in a thread. What fails, or finds no room, is lost and told by `complain`.

    Args:
        name: What to call the thread.
        room: Events that may wait, beside the one that is being written.
        finish: Called by the thread when it ends, however late that is: gives back what writing needs.
    """

    def __init__(self, name: str, room: int, finish: Write) -> None:
        self._room, self._finish = room, finish
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Write, int]] = deque()
        self._busy = self._closing = False
        self._held = 0
        self._lost, self._error, self._trouble = 0, "", ""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def held(self) -> int:
        """Bytes that events hold which wait or are being written."""
        with self._changed:
            return self._held

    @property
    def trouble(self) -> str:
        """Why the last event is lost; empty if it was written."""
        with self._changed:
            return self._trouble

    def add(self, write: Write, size: int, seconds: float = 0.0) -> bool:
        """Hand over what writes an event, and return whether there was room for it.

        Args:
            write: Writes it.
            size: Bytes that it holds until then.
            seconds: Longest that this waits for room.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._left <= self._room, seconds)
            if self._left > self._room:
                self._lose(1, f"an event is lost: {self._left} before it are not written yet, the disk is too slow.")
                return False
            self._waiting.append((write, size))
            self._held += size
            self._changed.notify_all()
            return True

    def flush(self, seconds: float) -> None:
        """Wait until everything that was handed over is written or lost, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not self._left, seconds)

    def complain(self) -> None:
        """Say what was lost since the last time.

        Raises:
            SinkError: If something was; ``lost`` is how many events.
        """
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost:
            raise SinkError(self._error, lost)

    def close(self) -> None:
        """End the thread; what is not written by now counts as lost. A second call does nothing."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            if self._left:
                self._lose(self._left, f"{self._left} event(s) are not written at the end, the disk is too slow.")
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(END_SECONDS)

    @property
    def _left(self) -> int:
        return len(self._waiting) + self._busy

    def _lose(self, count: int, error: str) -> None:
        self._lost, self._error, self._trouble = self._lost + count, error, error

    def _work(self) -> None:
        while self._write_next():
            pass
        self._finish()

    def _write_next(self) -> bool:
        """Write an event, and keep nothing of it; return False at the end."""
        found = self._next()
        if found is None:
            return False
        write, size = found
        try:
            write()
            with self._changed:
                self._trouble = ""
        except Exception as error:  # a codec may raise anything, and the thread must not die of it
            with self._changed:
                self._lose(1, safe_text(error))
        finally:
            with self._changed:
                self._busy = False
                self._held -= size
                self._changed.notify_all()
        return True

    def _next(self) -> tuple[Write, int] | None:
        """Wait for the next event; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._busy = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None
