"""Cameras and sinks that are lost and come back, told to Python's logging: ``edgecnn.source`` and ``edgecnn.sink``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

SETTLE_SECONDS = 3.0
"""A fault is over when nothing has failed for so long: what comes and goes is told once."""
REPEAT_SECONDS = 60.0
"""Least time until another reason of the same fault is told."""


class Fault:
    """Whether something fails, and why: a warning when it begins, a line when it is over. For any thread.

    Args:
        name: What may fail, without secrets.
        logger: Where that is told.
        clock: Returns seconds on the monotonic clock.
    """

    def __init__(self, name: str, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._logger, self._clock = name, logger, clock
        self._lock = threading.Lock()
        self._reason = self._told = ""
        self._since = self._failed = self._told_at = 0.0

    @property
    def reason(self) -> str:
        """Why it fails, or failed until a moment ago; empty if it does not."""
        return self._reason

    def update(self, reason: str) -> None:
        """Take in how it is now: why it fails, empty if it does not. Costs next to nothing while all is well."""
        if not reason and not self._reason:
            return
        with self._lock:
            now = self._clock()
            if reason:
                self._fail(reason, now)
            elif self._reason and now - self._failed >= SETTLE_SECONDS:
                self._reason = ""
                self._logger.info("%s: back after %.0f s", self._name, now - self._since)

    def _fail(self, reason: str, now: float) -> None:
        begins = not self._reason
        if begins:
            self._since = now
        self._reason, self._failed = reason, now
        if begins or (reason != self._told and now - self._told_at >= REPEAT_SECONDS):
            self._told, self._told_at = reason, now
            self._logger.warning("%s: lost: %s", self._name, reason)
