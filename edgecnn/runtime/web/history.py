"""What the plots show: the age of verdicts and the dropped frames of the last minutes, in samples of equal length."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

from edgecnn.runtime.loop.observation import Observation

STEP = 2.0
"""Seconds that one sample stands for."""
SAMPLES = 150
"""Samples that are kept: 5 minutes."""
_AGES = 4096
"""Ages of one sample that are kept, the last ones: a bound for loops that make more than 2000 turns a second."""


@dataclass(frozen=True)
class Sample:
    """What was seen in `STEP` seconds.

    Attributes:
        p50: Age in seconds that half of the verdicts did not reach; None where there was no frame.
        p99: The same for 99 of 100.
        dropped: Frames left out for a newer one.
    """

    p50: float | None
    p99: float | None
    dropped: int


class History:
    """The samples of the last minutes. Filled by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._dropped = 0
        self._before = 0
        self._due = time.monotonic() + STEP

    def add(self, observation: Observation) -> None:
        """Count one observation; a turn without a frame has no age."""
        if observation.image is not None:
            self._ages.append(observation.age)

    def is_due(self) -> bool:
        """Whether the time of the sample is over."""
        return time.monotonic() >= self._due

    def tick(self, dropped: int) -> None:
        """Finish the sample and begin the next.

        Args:
            dropped: Frames dropped since the loop began.
        """
        # After a pause the plot goes on where it is: samples are never made up for the time in between.
        self._due = max(self._due + STEP, time.monotonic())
        ages = sorted(self._ages)
        with self._lock:
            self._samples.append(Sample(_quantile(ages, 0.5), _quantile(ages, 0.99), max(0, dropped - self._before)))
        self._ages.clear()
        self._before = dropped

    def samples(self) -> list[Sample]:
        """Return the samples, the oldest first."""
        with self._lock:
            return list(self._samples)


def _quantile(ordered: list[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of all do not exceed, None of none."""
    if not ordered:
        return None
    return ordered[math.ceil(share * len(ordered)) - 1]
