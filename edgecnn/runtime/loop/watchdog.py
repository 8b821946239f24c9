"""Notices an engine, or a script around the loop, that does not come back.

A thread cannot be ended from outside: the watchdog says INVALID to all sinks, stops telling systemd that all is well,
and calls whoever can end the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

CHECK_SECONDS = 0.25


class Watchdog:
    """A thread that looks at the time of the last sign of life.

    Args:
        seconds: Longest time without one.
        on_stuck: Called once each time, from the watchdog's thread, with the seconds since the last sign of life.
        on_alive: Called about four times a second while all is well.
        clock: Returns seconds on the monotonic clock.
    """

    def __init__(
        self,
        seconds: float,
        on_stuck: Callable[[float], None],
        on_alive: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._on_stuck, self._on_alive, self._clock = seconds, on_stuck, on_alive, clock
        self._last = clock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="edgecnn-watchdog", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Give a sign of life; costs next to nothing."""
        self._last = self._clock()

    def close(self) -> None:
        """End the thread. A second call does nothing."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _work(self) -> None:
        stuck = False
        while not self._stopping.wait(CHECK_SECONDS):
            silent = self._clock() - self._last
            if silent <= self._seconds:
                stuck = False
                self._on_alive()
            elif not stuck:
                stuck = True
                self._on_stuck(silent)
