"""Sinks that are told how the camera and the other sinks do: PASS while all of them work, INVALID while one is lost."""

from __future__ import annotations

import threading
import time

from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.outlets import Outlets
from edgecnn.vision.results import Finding, Verdict


class Alarm:
    """Feeds any kind of sink with what is lost: a lamp, a coil, a topic, a webhook.

    It speaks all the time, so that an output that hears nothing any more goes to its safe state.
    """

    def __init__(self) -> None:
        self.outlets = Outlets()
        self._telling = threading.Lock()
        self._number = 0
        self._told: frozenset[str] | None = None

    def tell(self, lost: dict[str, str]) -> None:
        """Say what is lost now, and why, by name; another set of names is news. For any thread."""
        with self._telling:
            names, now = frozenset(lost), time.monotonic()
            changed, self._told = names != self._told, names
            self._number += 1
            verdict = Verdict.INVALID if lost else Verdict.PASS
            findings = tuple(Finding("lost", f"{name}: {reason}") for name, reason in lost.items())
            self.outlets.offer(
                Observation(self._number, verdict, verdict, changed, now, time.time(), now, 0.0, findings=findings)
            )
