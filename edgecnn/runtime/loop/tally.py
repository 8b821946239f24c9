"""Counting what the loop does. Written by the loop's thread alone, read by any."""

from __future__ import annotations

import time
from collections import deque

from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.statistics import Durations
from edgecnn.vision.results import Verdict

RECENT = 64
QUIET_SECONDS = 5.0
NO_VERDICT = "NONE"


class Tally:
    """The loop's counters."""

    def __init__(self) -> None:
        self.started = time.time()
        self._begun = time.monotonic()
        self.turns = self.dropped = 0
        names = [verdict.value for verdict in Verdict]
        self.verdicts = dict.fromkeys([*names, NO_VERDICT], 0)
        self.parts = dict.fromkeys(names, 0)
        self.findings: dict[str, int] = {}
        self.state = ""
        self.age, self.inference = Durations(), Durations()
        self._recent: deque[float] = deque(maxlen=RECENT)

    @property
    def uptime(self) -> float:
        """Seconds since the loop began."""
        return time.monotonic() - self._begun

    def count(self, observation: Observation) -> None:
        """Take in one turn."""
        verdict = observation.verdict
        self.turns += 1
        self.dropped += observation.dropped
        self.verdicts[NO_VERDICT if verdict is None else verdict.value] += 1
        if observation.part is not None:
            self.parts[observation.part.verdict.value] += 1
        for finding in observation.findings:
            self.findings[finding.kind] = self.findings.get(finding.kind, 0) + 1
        if observation.changed and observation.state is not None:
            self.state = observation.state.value
        if observation.image is not None:
            self.age.add(observation.age)
            self._recent.append(time.monotonic())

    def fps(self) -> float:
        """Return frames per second over the last ones, 0 if none came lately."""
        recent = tuple(self._recent)
        if len(recent) < 2 or time.monotonic() - recent[-1] > QUIET_SECONDS:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)
