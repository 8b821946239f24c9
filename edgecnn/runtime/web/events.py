"""The last things that happened, with pictures: parts, rejects, and pictures that could not be trusted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgecnn.errors import DataError
from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.web.pictures import Pictures
from edgecnn.vision.results import Verdict

KEPT = 24
GOOD_KEPT = 8
"""Good parts among the `KEPT`: they never push out a bad one."""
REST_SECONDS, GOOD_REST_SECONDS = 0.1, 0.5
"""Least time since the last picture of an event, and for that of a good part. What comes faster is listed without a
picture: the loop needs the processor."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        number: The observation's number.
        time: Seconds since 1970.
        verdict: PASS, REJECT or INVALID.
        title: What it is about, e.g. ``"part 17"``.
        reason: Why, in one sentence; empty where nothing is to be said.
        score: The score that decided, None without one.
        jpeg: The picture that tells most, None where there was no time for one.
    """

    number: int
    time: float
    verdict: Verdict
    title: str
    reason: str
    score: float | None
    jpeg: bytes | None = field(repr=False)


class Events:
    """The last `KEPT` events. Filled by one thread, read by others.

    Args:
        pictures: Makes the pictures.
        threshold_of: Returns the score from which a label rejects, None where it does not.
        parts: Whether there are verdicts about parts: then a part is the event, and a changed state is one only where
            the picture cannot be trusted.
    """

    def __init__(self, pictures: Pictures, threshold_of: Callable[[str | None], float | None], parts: bool) -> None:
        self._pictures, self._threshold_of = pictures, threshold_of
        self._has_parts = parts
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._telling: dict[Verdict | None, Observation] = {}
        self._painted = float("-inf")

    def show(self, observation: Observation) -> None:
        """Look at one observation, and keep it if it is an event."""
        if self._has_parts:
            self._remember(observation)
        if observation.part is not None:
            self._add(self._of_part(observation, observation.part))
            self._telling.clear()
        elif observation.changed and observation.state is Verdict.INVALID:
            self._add(self._of_state(observation, Verdict.INVALID))
        elif observation.changed and observation.state is Verdict.REJECT and not self._has_parts:
            self._add(self._of_state(observation, Verdict.REJECT))

    def all(self) -> list[Event]:
        """Return the events, the newest first."""
        with self._lock:
            return self._events[::-1]

    def picture(self, number: int) -> bytes | None:
        """Return the picture of the event with this number, None where there is none any more."""
        return next((event.jpeg for event in self.all() if event.number == number), None)

    def _remember(self, observation: Observation) -> None:
        """Keep the highest score of every verdict: when a part is complete, it has left the picture."""
        best = self._telling.get(observation.verdict)
        if best is None or (observation.score or 0.0) >= (best.score or 0.0):
            self._telling[observation.verdict] = observation

    def _of_part(self, observation: Observation, part: Part) -> Event:
        frames = f"{part.frames} frame{'' if part.frames == 1 else 's'}"
        reasons = {
            Verdict.REJECT: f"{part.rejected} of {frames} rejected",
            Verdict.INVALID: f"{part.invalid} of {frames} could not be trusted",
            Verdict.PASS: f"{frames} looked at",
        }
        told = self._telling.get(part.verdict, observation)
        return self._event(observation, told, part.verdict, f"part {part.number}", reasons[part.verdict], part.score)

    def _of_state(self, observation: Observation, verdict: Verdict) -> Event:
        title = ", ".join(finding.kind.replace("_", " ") for finding in observation.findings) or observation.label or ""
        reason = " ".join(finding.reason for finding in observation.findings)
        limit = self._threshold_of(observation.label)
        if not reason and limit is not None:
            reason = f"rejected from {limit:.2f} on"
        return self._event(observation, observation, verdict, title, reason, observation.score)

    def _event(
        self, now: Observation, told: Observation, verdict: Verdict, title: str, reason: str, score: float | None
    ) -> Event:
        return Event(now.number, now.time, verdict, title, reason, score, self._jpeg(told, verdict))

    def _jpeg(self, observation: Observation, verdict: Verdict) -> bytes | None:
        rest = GOOD_REST_SECONDS if verdict is Verdict.PASS else REST_SECONDS
        if time.monotonic() - self._painted < rest:
            return None
        self._painted = time.monotonic()
        try:
            return self._pictures.jpeg(observation)
        except DataError:
            return None

    def _add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            good = [event for event in self._events if event.verdict is Verdict.PASS]
            if len(good) > GOOD_KEPT:
                self._events.remove(good[0])
            del self._events[:-KEPT]
