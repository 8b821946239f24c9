"""What makes a verdict of a frame. Knows no threads, no clock and no source: the same frames give the same verdicts.

`Judge.memory` is all that it remembers between two frames, so that a recorded event can be judged again from where it
began (`edgecnn.runtime.loop.replay`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, EdgecnnError, EngineError
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.loop.lanes import LaneTracker
from edgecnn.runtime.loop.observation import Part
from edgecnn.runtime.loop.parts import Debounce, Parts, Presence
from edgecnn.runtime.loop.rules import Rules
from edgecnn.vision.results import Finding, Result, Verdict

if TYPE_CHECKING:
    from edgecnn.runtime.model import Model

Image = npt.NDArray[np.uint8]

MOST_ENGINE_ERRORS = 3
"""Failures of the engine in a row after which only a new process helps."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in one frame.

    Attributes:
        findings: Why it cannot be trusted.
        result: What the model said, None where it was not asked.
        full: Whether a part fills the view.
        gone: Whether the place is empty.
        seconds: How long the model took, 0 where it was not asked.
    """

    findings: tuple[Finding, ...] = ()
    result: Result | None = None
    full: bool = True
    gone: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What follows for verdict, state and part; see `Observation`."""

    verdict: Verdict | None
    state: Verdict | None
    changed: bool
    part: Part | None


class Judge:
    """Judges frame after frame of one source. Used by one thread at a time."""

    def __init__(self, model: Model, rules: Rules) -> None:
        self._model, self._mode = model, rules.parts.mode
        self._monitor = Monitor(model.reference, rules.health, model.preprocess)
        self._debounce, self._parts = Debounce(rules.parts), Parts(rules.parts)
        self._presence = None if rules.empty is None else Presence(model.prepare(rules.empty)[0], rules.parts)
        self._lanes = LaneTracker(rules.lanes) if model.manifest.task == "lane" else None
        self._engine_errors = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is found in pictures, and what cannot be looked for, and why: one sentence each."""
        return self._monitor.remarks

    @property
    def edges(self) -> tuple[float, ...] | None:
        """What was measured on the last frame itself; see `Monitor`."""
        return self._monitor.edges

    def look(
        self,
        tensor: Image,
        frame_shape: tuple[int, ...],
        timestamp: float,
        frame: Image | None = None,
        edges: Sequence[float] | None = None,
    ) -> Seen:
        """Judge the picture, and ask the model if it can be trusted and shows a part.

        Args:
            tensor: What the model sees, uint8 (1, H, W, C).
            frame_shape: Shape of the frame that it was made from.
            timestamp: Seconds on the source's clock.
            frame: The frame; see `Monitor.look`.
            edges: Of a recorded one; see `Monitor.look`.

        Raises:
            EngineError: If the engine failed again and again; once is a finding.
        """
        if self._presence is not None and (reason := self._presence.misfit(tensor)):
            return Seen((Finding("size", reason),))
        share = 1.0 if self._presence is None else self._presence.share(tensor)
        full = self._presence is None or self._presence.is_full(share)
        # The calibration frames show parts: half a part, or none, may well be unlike them.
        findings = self._monitor.look(tensor, frame_shape, timestamp, full, frame, edges)
        if self._presence is not None and not full:
            return Seen(findings, full=False, gone=self._presence.is_empty(share))
        return Seen(findings) if findings else self._followed(self._ask(tensor, frame_shape), frame_shape, timestamp)

    def conclude(self, seen: Seen) -> Conclusion:
        """Debounce, and keep account of the part in view."""
        verdict = self._verdict(seen)
        part = self._part(verdict, seen)
        changed = self._debounce.update(verdict)
        return Conclusion(verdict, self._debounce.state, changed, part)

    def memory(self) -> dict[str, Any]:
        """Return all that is remembered, as values for JSON."""
        return {
            "health": self._monitor.state(),
            "debounce": self._debounce.memory(),
            "parts": self._parts.memory(),
            "lanes": None if self._lanes is None else self._lanes.memory(),
        }

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Go on from where `memory` was taken.

        Raises:
            DataError: If it is no such memory.
        """
        try:
            self._monitor.restore(memory["health"])
            self._debounce.restore(memory["debounce"])
            self._parts.restore(memory["parts"])
            if self._lanes is not None:
                self._lanes.restore(memory["lanes"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"this is no memory of a judge: {type(error).__name__}: {error}.") from error

    def _ask(self, tensor: Image, frame_shape: tuple[int, ...]) -> Seen:
        begun = time.perf_counter()
        try:
            result = self._model.infer(tensor, frame_shape)
        except EdgecnnError as error:
            self._engine_errors += 1
            if self._engine_errors >= MOST_ENGINE_ERRORS:
                raise EngineError(f"the engine failed {MOST_ENGINE_ERRORS} times in a row, last: {error}") from error
            return Seen((Finding("engine", str(error)),))
        self._engine_errors = 0
        return Seen(result=result, seconds=time.perf_counter() - begun)

    def _followed(self, seen: Seen, frame_shape: tuple[int, ...], timestamp: float) -> Seen:
        """Return it with the lines of the lane as they are followed."""
        if self._lanes is None or seen.result is None:
            return seen
        decision = self._lanes.update(seen.result.decision, (frame_shape[1], frame_shape[0]), timestamp)
        return replace(seen, result=replace(seen.result, decision=decision))

    def _verdict(self, seen: Seen) -> Verdict | None:
        result = seen.result
        if seen.findings:
            return Verdict.INVALID
        if result is None or result.label is None:
            return None if result is None else result.verdict
        threshold = self._model.manifest.threshold_of(result.label)
        return self._debounce.strict(result.verdict, result.score, threshold)

    def _miss(self, verdict: Verdict | None) -> None:
        """Note that no picture came: nobody saw a part begin or end, but one that is in view was not seen either."""
        if self._parts.in_view:
            self._parts.see(verdict, None)

    def _part(self, verdict: Verdict | None, seen: Seen) -> Part | None:
        """Keep account of the part in view, and return it when it is complete."""
        if self._mode == "none" or (self._mode == "gap" and seen.gone and verdict is None):
            return self._parts.gap()
        if any(finding.kind == "no_frame" for finding in seen.findings):
            self._miss(verdict)
            return None
        if seen.full or verdict is Verdict.INVALID:
            self._parts.see(verdict, None if seen.result is None else seen.result.score)
        return self._parts.gap() if self._mode == "frame" else None
