"""The loop itself: take a frame, judge the picture, ask the model, debounce, tell the sinks, hand it to the caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, EdgecnnError, EngineError, OptionError
from edgecnn.runtime.address import Address
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.loop.capture import Capture, Shot
from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.loop.outlets import Outlets
from edgecnn.runtime.loop.parts import Debounce, Parts, PartSettings, Presence
from edgecnn.runtime.loop.statistics import Snapshot
from edgecnn.runtime.loop.tally import Tally
from edgecnn.runtime.loop.watchdog import Watchdog
from edgecnn.runtime.sinks import Sink, SinkContext, open_sink
from edgecnn.runtime.sources import Source, module_for
from edgecnn.vision.results import Finding, Result, Verdict

if TYPE_CHECKING:
    from edgecnn.runtime.model import Model

Image = npt.NDArray[np.uint8]

EVERY = ("latest", "frame")
WAIT_SECONDS = 0.25
MOST_ENGINE_ERRORS = 3
"""Failures of the engine in a row after which only a new process helps."""


@dataclass(frozen=True)
class LoopSettings:
    """How the loop judges time, pictures and parts.

    Attributes:
        silence: Seconds without a frame of a live source after which it says INVALID, and again after as many.
        stale: Seconds from reading a frame of a live source to its verdict above which the verdict is INVALID: it comes
            too late to act on.
        stuck: Seconds that a turn, or the caller between two turns, may take before the watchdog speaks up.
        health: What is looked for in the picture.
        parts: How frames become parts.
        empty: The empty place without a part, uint8 (H, W, 3) of any size, for ``parts.mode`` ``"gap"``.
        on_stuck: Called from the watchdog's thread with the seconds since the last sign of life.
        on_alive: Called from the watchdog's thread about four times a second while all is well.
    """

    silence: float = 1.0
    stale: float = 1.0
    stuck: float = 10.0
    health: HealthSettings = field(default_factory=HealthSettings)
    parts: PartSettings = field(default_factory=PartSettings)
    empty: Image | None = field(default=None, repr=False)
    on_stuck: Callable[[float], None] = lambda seconds: None
    on_alive: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        for name in ("silence", "stale", "stuck"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be more than 0 seconds, got {getattr(self, name)}.")
        if (self.parts.mode == "gap") != (self.empty is not None):
            raise OptionError("parts 'gap' and a picture of the empty place go together: give both or neither.")


class Loop:
    """An iterator of observations around a loaded model. A context manager; any thread may close it.

    Attributes:
        source: The source's address, without secrets.
        context: What the sinks were told about this loop.
    """

    def __init__(
        self, model: Model, name: str, make: Callable[[], Source], live: bool, newest_only: bool, settings: LoopSettings
    ) -> None:
        self.source = name
        self._model, self._settings, self._live = model, settings, live
        self._monitor = Monitor(model.reference, settings.health, model.preprocess)
        self._debounce, self._parts = Debounce(settings.parts), Parts(settings.parts)
        self._presence = None if settings.empty is None else Presence(model.prepare(settings.empty)[0], settings.parts)
        self._tally, self._outlets = Tally(), Outlets()
        parts = settings.parts.mode != "none"
        self.context = SinkContext(model.manifest, model.engine_name, name, self.snapshot, parts)
        self._number = self._engine_errors = 0
        self._stopping, self._closing = threading.Event(), threading.Lock()
        self._closed = False
        self._interrupted = False
        self._last_frame = self._last_word = time.monotonic()
        self._capture = Capture(make, live, newest_only)
        self._watchdog = Watchdog(settings.stuck, self._stuck, settings.on_alive)

    @classmethod
    def of(
        cls,
        model: Model,
        source: str | int | Path | Source,
        *,
        every: str | None = None,
        sinks: Sequence[str] = (),
        settings: LoopSettings | None = None,
    ) -> Self:
        """Make a loop; see `Model.watch`."""
        if every is not None and every not in EVERY:
            raise OptionError(f"every must be one of {', '.join(EVERY)}, got '{every}'.")
        name, make, live = _resolve(source)
        loop = cls(model, name, make, live, live if every is None else every == "latest", settings or LoopSettings())
        try:
            for sink in sinks:
                loop.add(str(Address.parse(sink)), open_sink(sink, loop.context))
        except BaseException:
            loop.close()
            raise
        return loop

    def add(self, address: str, sink: Sink) -> None:
        """Give verdicts to one more sink; the loop closes it.

        Args:
            address: What to call it, without secrets.
            sink: See `edgecnn.runtime.sinks.Sink`.
        """
        self._outlets.add(address, sink)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Observation:
        """Return the next observation; for a live source at the latest after the time of silence.

        Raises:
            SourceError: If the source cannot be read, and trying again is of no use.
            EngineError: If the engine fails again and again.
        """
        try:
            while not self._stopping.is_set():
                self._watchdog.beat()
                observation, ended = self._attempt()
                if observation is not None:
                    return self._told(observation)
                if ended:
                    break
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def snapshot(self) -> Snapshot:
        """Return the loop's figures as they are now; any thread may ask."""
        tally, capture = self._tally, self._capture.state()
        return Snapshot(
            started=tally.started,
            uptime=tally.uptime,
            connected=capture.connected,
            source_error=capture.error,
            connects=capture.connects,
            stuck=capture.stuck,
            frames=capture.frames,
            dropped=tally.dropped,
            turns=tally.turns,
            verdicts=dict(tally.verdicts),
            parts=dict(tally.parts),
            findings=dict(tally.findings),
            state=tally.state,
            age=tally.age.histogram(),
            inference=tally.inference.histogram(),
            fps=tally.fps(),
            sinks=self._outlets.figures(),
        )

    def stop(self) -> None:
        """Let the turn that runs be the last. For signal handlers: it waits for nothing."""
        self._stopping.set()

    def close(self) -> None:
        """End the loop, its source and its sinks. A second call does nothing."""
        self._stopping.set()
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._watchdog.close()
            self._capture.close()
            self._outlets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self) -> tuple[Observation | None, bool]:
        """Take a frame and judge it; None if none came, and whether none will come any more."""
        ended = self._capture.ended
        found = self._capture.take(min(WAIT_SECONDS, self._settings.silence))
        now = time.monotonic()
        if found is None:
            silent = self._live and now - self._last_word > self._settings.silence
            return (self._silence(now) if silent else None), ended
        self._last_frame = self._last_word = now
        return self._turn(*found), False

    def _turn(self, shot: Shot, dropped: int) -> Observation:
        """Judge one frame."""
        if shot.frame is None:
            return self._observed(shot, dropped, None, (Finding("unreadable", shot.error),), None)
        try:
            tensor = self._model.prepare(shot.frame.image)
        except DataError as error:
            return self._observed(shot, dropped, None, (Finding("unusable", str(error)),), None)
        share = 1.0 if self._presence is None else self._presence.share(tensor)
        full = self._presence is None or self._presence.is_full(share)
        gone = self._presence is not None and self._presence.is_empty(share)
        findings = self._monitor.look(tensor, shot.frame.image.shape, _timestamp(shot))
        result: Result | None = None
        if full and not findings:
            result, findings = self._inferred(tensor)
        return self._observed(shot, dropped, tensor, findings, result, full, gone)

    def _inferred(self, tensor: Image) -> tuple[Result | None, tuple[Finding, ...]]:
        """Ask the model; that the engine failed is a finding, unless it does so again and again."""
        begun = time.perf_counter()
        try:
            result = self._model.infer(tensor)
        except EdgecnnError as error:
            self._engine_errors += 1
            if self._engine_errors >= MOST_ENGINE_ERRORS:
                raise EngineError(f"the engine failed {MOST_ENGINE_ERRORS} times in a row, last: {error}") from error
            return None, (Finding("engine", str(error)),)
        self._engine_errors = 0
        self._tally.inference.add(time.perf_counter() - begun)
        return result, ()

    def _observed(
        self,
        shot: Shot,
        dropped: int,
        tensor: Image | None,
        findings: tuple[Finding, ...],
        result: Result | None,
        full: bool = True,
        gone: bool = False,
    ) -> Observation:
        """Put a turn together: verdict, state, part."""
        age = time.monotonic() - shot.captured
        if self._live and age > self._settings.stale:
            findings += (
                Finding(
                    "stale", f"the verdict comes {age:.2f} s after the frame, {self._settings.stale:g} s are allowed"
                ),
            )
        verdict = self._verdict(findings, result)
        part = self._part(verdict, result, full, gone)
        changed = self._debounce.update(verdict) or self._interrupted
        self._interrupted = False
        self._number += 1
        frame = shot.frame
        return Observation(
            number=self._number,
            verdict=verdict,
            state=self._debounce.state,
            changed=changed,
            captured=shot.captured,
            time=shot.time,
            timestamp=_timestamp(shot),
            age=age,
            part=part,
            findings=findings,
            result=result,
            image=None if frame is None else frame.image,
            tensor=tensor,
            name="" if frame is None else frame.name,
            truth=None if frame is None else frame.truth,
            dropped=dropped,
        )

    def _verdict(self, findings: tuple[Finding, ...], result: Result | None) -> Verdict | None:
        if findings:
            return Verdict.INVALID
        if result is None or result.label is None:
            return None if result is None else result.verdict
        threshold = self._model.manifest.thresholds.get(result.label)
        return self._debounce.strict(result.verdict, result.score, threshold)

    def _part(self, verdict: Verdict | None, result: Result | None, full: bool, gone: bool) -> Part | None:
        """Keep account of the part in view, and return it when it is complete."""
        mode = self._settings.parts.mode
        if mode == "none" or (mode == "gap" and gone and verdict is None):
            return self._parts.gap()
        if full or verdict is Verdict.INVALID:
            self._parts.see(verdict, None if result is None else result.score)
        return self._parts.gap() if mode == "frame" else None

    def _silence(self, now: float) -> Observation:
        """Say that there is no frame: the most dangerous picture is the one that does not come."""
        state = self._capture.state()
        self._last_word = now
        reason = f"no frame for {now - self._last_frame:.1f} s{': ' if state.error else ''}{state.error}"
        shot = Shot(None, "", now, time.time())
        return self._observed(shot, 0, None, (Finding("no_frame", reason),), None)

    def _told(self, observation: Observation) -> Observation:
        """Count an observation and give it to the sinks."""
        self._tally.count(observation)
        self._outlets.offer(observation)
        self._watchdog.beat()
        return observation

    def _stuck(self, seconds: float) -> None:
        """Say INVALID for the loop, which cannot speak for itself; from the watchdog's thread."""
        finding = Finding("stuck", f"the engine, or the script around the loop, has not answered for {seconds:.1f} s")
        now, invalid = time.monotonic(), Verdict.INVALID
        self._interrupted = True
        self._outlets.offer(
            Observation(self._number, invalid, invalid, True, now, time.time(), now, 0.0, findings=(finding,))
        )
        self._settings.on_stuck(seconds)


def _timestamp(shot: Shot) -> float:
    known = None if shot.frame is None else shot.frame.timestamp
    return shot.captured if known is None else known


def _resolve(source: str | int | Path | Source) -> tuple[str, Callable[[], Source], bool]:
    """Return a source's name without secrets, how to make it, and whether it is live."""
    if not isinstance(source, (str, int, Path)):
        # One object: it is used again where a fresh one would be made.
        return type(source).__name__, lambda: source, bool(getattr(source, "LIVE", True))
    address = Address.parse(str(source))
    module = module_for(address)
    module.source(address)
    return str(address), lambda: module.source(address), module.LIVE
