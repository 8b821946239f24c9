"""The loop's figures: counted where they arise, read by anybody at any time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds in seconds of a histogram's buckets, inclusive; above the last there is one more."""


@dataclass(frozen=True)
class Histogram:
    """How long something took.

    Attributes:
        counts: Number of values per bucket of `BOUNDS`, and above the last: one more than there are bounds.
        total: Sum of all values, in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)


class Durations:
    """A histogram that is being filled, by one thread or several."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one value."""
        with self._lock:
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._total += seconds

    def histogram(self) -> Histogram:
        """Return what was counted so far."""
        with self._lock:
            return Histogram(tuple(self._counts), self._total)


@dataclass(frozen=True)
class SinkFigures:
    """What became of the observations that one sink was given.

    Attributes:
        address: The sink's address without secrets.
        delivered: Arrived: written, answered or confirmed, whatever the sink can know.
        lost: Thrown away because its queue was full, or given to it and it did not arrive.
        waiting: Neither yet: in its queue, under way, or taken and not confirmed.
        error: What is wrong now, empty once it delivers again.
        latency: From reading the frame until it had arrived.
        last_error: What was wrong the last time; kept when it delivers again.
        failing: Whether it fails, or failed within the last seconds.
    """

    address: str
    delivered: int = 0
    lost: int = 0
    waiting: int = 0
    error: str = ""
    latency: Histogram = field(default_factory=Histogram)
    last_error: str = ""
    failing: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The loop's figures at one moment.

    Attributes:
        started: When the loop began, seconds since 1970.
        uptime: Seconds since then, by a clock that does not jump.
        connected: Whether the source gives frames.
        source_error: Why not, or why it was lost the last time; without secrets.
        connects: How often the source was opened.
        stuck: How often a read had to be abandoned because it never returned.
        frames: Frames that the source gave.
        dropped: Frames left out for a newer one.
        turns: Observations made, those without a frame included.
        verdicts: Number of turns by verdict: ``PASS``, ``REJECT``, ``INVALID``, ``NONE``.
        parts: Number of parts by verdict.
        findings: Number of turns by what was wrong with the picture.
        state: The debounced verdict now, as text; empty before the first.
        age: From reading a frame to its verdict.
        inference: What the model took.
        fps: Turns per second over the last seconds.
        sinks: Figures per sink.
        source_failing: Whether the source is lost, or was within the last seconds.
    """

    started: float
    uptime: float
    connected: bool
    source_error: str
    connects: int
    stuck: int
    frames: int
    dropped: int
    turns: int
    verdicts: dict[str, int]
    parts: dict[str, int]
    findings: dict[str, int]
    state: str
    age: Histogram
    inference: Histogram
    fps: float
    sinks: Sequence[SinkFigures] = ()
    source_failing: bool = False
