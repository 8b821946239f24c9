"""All that the page knows, as JSON: the figures of the loop, the newest verdict, the last events, the plots."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.statistics import BOUNDS, Histogram, SinkFigures, Snapshot
from edgecnn.runtime.sinks import SinkContext
from edgecnn.runtime.web.events import Event
from edgecnn.runtime.web.history import STEP, Sample

Json = dict[str, Any]
REST_SECONDS = 0.2
"""Least time between two states, whatever the number of viewers."""
_LONGEST = 300
"""Characters of a text from elsewhere that are shown."""


class Cached:
    """Bytes that are made anew at most every `REST_SECONDS`, shared by all viewers."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made = float("-inf")
        self._bytes = b""

    def get(self) -> bytes:
        """Return the bytes as they are or were a moment ago."""
        with self._lock:
            if time.monotonic() - self._made >= REST_SECONDS:
                self._bytes = self._make()
                self._made = time.monotonic()
            return self._bytes


def state(
    context: SinkContext,
    observation: Observation | None,
    silence: float | None,
    threshold: float | None,
    events: list[Event],
    samples: list[Sample],
) -> bytes:
    """Return everything as JSON.

    Args:
        context: The loop.
        observation: The newest, None before the first.
        silence: Seconds since it came.
        threshold: Score from which its label rejects.
        events: The newest first.
        samples: The oldest first.
    """
    snapshot = context.snapshot()
    content = {
        "bundle": context.manifest.name,
        "station": context.run.station,
        "task": context.manifest.task,
        "engine": context.engine,
        "source": context.source,
        "state": snapshot.state,
        "silence": silence,
        "now": None if observation is None else moment(observation, threshold),
        "figures": _figures(snapshot),
        "age": _histogram(snapshot.age),
        "inference": _histogram(snapshot.inference),
        "bounds": BOUNDS,
        "sinks": [_sink(sink) for sink in snapshot.sinks],
        "events": [_event(event) for event in events],
        "history": _history(samples),
    }
    return json.dumps(_plain(content), allow_nan=False, separators=(",", ":")).encode()


def quantile(histogram: Histogram, share: float) -> float | None:
    """Return the value in seconds that ``share`` of all values do not exceed, by straight lines within buckets.

    Values above the last bound count as that bound; None of none.
    """
    rest = share * histogram.count
    for index, count in enumerate(histogram.counts):
        if count and rest <= count:
            if index == len(BOUNDS):
                return BOUNDS[-1]
            low = BOUNDS[index - 1] if index else 0.0
            return low + (BOUNDS[index] - low) * rest / count
        rest -= count
    return None


def told(observation: Observation, threshold: float | None) -> str:
    """Return what was said about one observation as JSON in ASCII, to stand beside its picture in a header."""
    return json.dumps(_plain(moment(observation, threshold)), allow_nan=False, separators=(",", ":"))


def moment(observation: Observation, threshold: float | None) -> Json:
    """Return what was said about one observation."""
    return {
        "turn": observation.number,
        "state": observation.state and observation.state.value,
        "verdict": observation.verdict and observation.verdict.value,
        "label": observation.label,
        "score": observation.score,
        "threshold": threshold,
        "score_text": _score_text(observation),
        "name": observation.name,
        "age": observation.age,
        "findings": [{"kind": finding.kind, "reason": finding.reason} for finding in observation.findings],
    }


def _score_text(observation: Observation) -> str:
    """Return the score as the picture has it: browsers round 0.625 up, Python rounds it to even."""
    if observation.result is None or observation.score is None:
        return ""
    text = f"{observation.score:.2f}"
    # Of a sound part the picture leaves it out: it is not that of the label.
    return text if observation.result.decision.caption.endswith(text) else f"score {text}"


def _figures(snapshot: Snapshot) -> Json:
    names = ("started", "uptime", "connected", "source_error", "connects", "stuck", "frames", "dropped", "turns")
    counted = ("verdicts", "parts", "findings", "fps", "source_failing")
    return {name: getattr(snapshot, name) for name in names + counted}


def _histogram(histogram: Histogram) -> Json:
    return {
        "counts": histogram.counts,
        "count": histogram.count,
        "p50": quantile(histogram, 0.5),
        "p99": quantile(histogram, 0.99),
    }


def _sink(sink: SinkFigures) -> Json:
    return {
        "address": sink.address,
        "delivered": sink.delivered,
        "lost": sink.lost,
        "waiting": sink.waiting,
        "error": sink.error,
        "last_error": sink.last_error,
        "failing": sink.failing,
        "p99": quantile(sink.latency, 0.99),
    }


def _event(event: Event) -> Json:
    return {
        "number": event.number,
        "time": event.time,
        "verdict": event.verdict.value,
        "title": event.title,
        "reason": event.reason,
        "score": event.score,
        "picture": event.jpeg is not None,
    }


def _history(samples: list[Sample]) -> Json:
    return {
        "step": STEP,
        "p50": [sample.p50 for sample in samples],
        "p99": [sample.p99 for sample in samples],
        "dropped": [sample.dropped for sample in samples],
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: rounded to microseconds, without infinities, long texts cut."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value[:_LONGEST]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
