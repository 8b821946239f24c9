"""An observation and the loop's figures as plain values for JSON: the same for every sink, the web page and replay."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.loop.run import Run
from edgecnn.runtime.loop.statistics import Histogram, SinkFigures, Snapshot
from edgecnn.vision.results import Finding, Lane, Region, Result, Verdict

Record = dict[str, Any]
DIGITS = 1
"""Decimals of places in the frame, in pixels."""
RATIO_DIGITS, MOST_POINTS = 5, 12
"""Decimals of scores of lanes and of what follows from them; points that a line is told by."""


def as_record(observation: Observation, run: Run) -> Record:
    """Return what an observation says, without pictures, as values that JSON knows.

    Args:
        observation: What was seen.
        run: The run that it belongs to; a sink finds it in its context.

    Returns:
        ``id`` (see `Run.event_id`), ``station``, ``run``, ``bundle``, ``bundle_sha256``, ``time`` (UTC, ISO 8601,
        milliseconds), ``number``, ``name``, ``verdict``, ``state``, ``changed``, ``part``, ``findings``, ``label``,
        ``score``, ``threshold`` (from which this label rejects), ``scores``, ``regions``, ``lanes``, ``ego``,
        ``age_ms`` and ``dropped``, always all of them; what is not known is None or empty. Regions have ``label``,
        ``score``, ``box`` (left, top, right, bottom), ``polygon`` ([x, y], ...) and ``area``, in pixels of the frame;
        for ``lanes`` and ``ego`` see `lanes_of`.
    """
    result = observation.result
    return {
        "id": run.event_id(observation.number),
        **origin_of(run),
        "time": time_text(observation.time),
        "number": observation.number,
        "name": observation.name,
        "verdict": verdict_text(observation.verdict),
        "state": verdict_text(observation.state),
        "changed": observation.changed,
        "part": None if observation.part is None else _part(observation.part),
        "findings": [_finding(finding) for finding in observation.findings],
        "label": observation.label,
        "score": _number(observation.score),
        "threshold": run.manifest.threshold_of(observation.label),
        "scores": {} if result is None else {key: _number(value) for key, value in result.decision.scores.items()},
        "regions": [] if result is None else [_region(region) for region in result.decision.regions],
        **lanes_of(result),
        "age_ms": round(observation.age * 1000, 3),
        "dropped": observation.dropped,
    }


def origin_of(run: Run) -> Record:
    """Return ``station``, ``run``, ``bundle`` and ``bundle_sha256`` of a run."""
    return {
        "station": run.station,
        "run": run.id,
        "bundle": run.manifest.name,
        "bundle_sha256": run.bundle_sha256,
    }


def as_summary(snapshot: Snapshot) -> Record:
    """Return the loop's figures in short, durations as means in milliseconds."""
    return {
        "uptime_s": round(snapshot.uptime, 3),
        "connected": snapshot.connected,
        "source_error": snapshot.source_error,
        "source_failing": snapshot.source_failing,
        "connects": snapshot.connects,
        "stuck": snapshot.stuck,
        "frames": snapshot.frames,
        "dropped": snapshot.dropped,
        "turns": snapshot.turns,
        "fps": round(snapshot.fps, 2),
        "state": snapshot.state,
        "verdicts": dict(snapshot.verdicts),
        "parts": dict(snapshot.parts),
        "findings": dict(snapshot.findings),
        "age_ms": _mean_ms(snapshot.age),
        "inference_ms": _mean_ms(snapshot.inference),
        "sinks": [_sink(figures) for figures in snapshot.sinks],
    }


def lanes_of(result: Result | None) -> Record:
    """Return ``lanes`` and ``ego`` of a result.

    Lanes have ``side``, ``kind``, ``score`` and ``points`` ([x, y] in pixels of the frame, from near to far, at most
    `MOST_POINTS`). ``ego`` has the attributes of `edgecnn.vision.results.Ego`, None without both lines.
    """
    if result is None:
        return {"lanes": [], "ego": None}
    place = result.decision.ego
    known = None if place is None else {name: _rounded(value) for name, value in dataclasses.asdict(place).items()}
    return {"lanes": [_lane(lane) for lane in result.decision.lanes], "ego": known}


def alarm(observation: Observation, parts: bool) -> Verdict | None:
    """Return REJECT or INVALID where a turn brings one that was not there before, else None.

    Args:
        observation: The turn.
        parts: Whether the loop judges parts. Then REJECT is said about a part and never by the state, which would tell
            the same part's fault twice.
    """
    state, part = observation.state, observation.part
    news = [part.verdict] if part is not None else []
    if observation.changed and state is not None and not (parts and state is Verdict.REJECT):
        news.append(state)
    return next((verdict for verdict in (Verdict.REJECT, Verdict.INVALID) if verdict in news), None)


def digest(result: Result) -> str:
    """Return the SHA-256 of a result's integers: all outputs in the bundle's order, as they lie in memory."""
    found = hashlib.sha256()
    for output in result.outputs:
        found.update(np.ascontiguousarray(output.integers).tobytes())
    return found.hexdigest()


def time_text(seconds: float) -> str:
    """Return seconds since 1970 as UTC in ISO 8601 with milliseconds, e.g. ``"2030-01-31T23:59:59.042Z"``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def verdict_text(verdict: Verdict | None) -> str | None:
    """Return a verdict as text, None without one."""
    return None if verdict is None else verdict.value


def _part(part: Part) -> Record:
    return {
        "number": part.number,
        "verdict": part.verdict.value,
        "frames": part.frames,
        "rejected": part.rejected,
        "invalid": part.invalid,
        "score": _number(part.score),
    }


def _region(region: Region) -> Record:
    return {
        "label": region.label,
        "score": _number(region.score),
        "box": [round(side, DIGITS) for side in region.box],
        "polygon": np.round(region.polygon, DIGITS).tolist(),
        "area": round(region.area, DIGITS),
    }


def _lane(lane: Lane) -> Record:
    chosen = np.unique(np.linspace(0, len(lane.points) - 1, MOST_POINTS).round().astype(int))
    points = np.round(lane.points[chosen], DIGITS).tolist()
    return {"side": lane.side, "kind": lane.kind, "score": _rounded(lane.score), "points": points}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, RATIO_DIGITS)


def _finding(finding: Finding) -> Record:
    return {"kind": finding.kind, "reason": finding.reason}


def _sink(figures: SinkFigures) -> Record:
    return {
        "address": figures.address,
        "delivered": figures.delivered,
        "lost": figures.lost,
        "waiting": figures.waiting,
        "error": figures.error,
        "last_error": figures.last_error,
        "failing": figures.failing,
        "latency_ms": _mean_ms(figures.latency),
    }


def _mean_ms(histogram: Histogram) -> float | None:
    return round(histogram.total / histogram.count * 1000, 3) if histogram.count else None


def _number(value: float | None) -> float | None:
    """Return a score as Python's own number; JSON knows neither numpy's nor NaN."""
    return float(value) if value is not None and np.isfinite(value) else None
