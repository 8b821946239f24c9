"""The loop itself: take a frame, judge the picture, ask the model, debounce, tell the sinks, hand it to the caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, OptionError
from edgecnn.runtime.address import Address, redacted
from edgecnn.runtime.closing import Closing
from edgecnn.runtime.loop.alarm import Alarm
from edgecnn.runtime.loop.capture import Capture, Shot
from edgecnn.runtime.loop.judge import Judge, Seen
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.outlets import Outlets
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.loop.run import Run
from edgecnn.runtime.loop.statistics import Snapshot
from edgecnn.runtime.loop.tally import Tally
from edgecnn.runtime.loop.watchdog import Watchdog
from edgecnn.runtime.sinks import Sink, SinkContext, open_sink
from edgecnn.runtime.sources import Source, module_for
from edgecnn.vision.results import Finding, Verdict

if TYPE_CHECKING:
    from edgecnn.runtime.model import Model

Image = npt.NDArray[np.uint8]

EVERY = ("latest", "frame")
WAIT_SECONDS = 0.25
ALARM_SECONDS = 2.0
"""Longest that the end waits for alarms, behind the sinks: nothing of worth waits there."""
MEMORY_SECONDS = 0.25
"""How often what the judge remembers is kept: a recorded event begins where it was, and can be judged again."""


@dataclass(frozen=True)
class LoopSettings:
    """How the loop judges time, pictures and parts.

    Attributes:
        silence: Seconds without a frame of a live source after which it says INVALID, and again after as many.
        stale: Seconds from reading a frame of a live source to its verdict above which the verdict is INVALID: it comes
            too late to act on.
        stuck: Seconds that a turn, or the caller between two turns, may take before the watchdog speaks up.
        rules: What is looked for in the picture, and how frames become parts.
        station: Name of the place that is inspected, for records; empty for the host's name.
        on_stuck: Called from the watchdog's thread with the seconds since the last sign of life.
        on_alive: Called from the watchdog's thread about four times a second while all is well.
    """

    silence: float = 1.0
    stale: float = 1.0
    stuck: float = 10.0
    rules: Rules = field(default_factory=Rules)
    station: str = ""
    on_stuck: Callable[[float], None] = lambda seconds: None
    on_alive: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        for name in ("silence", "stale", "stuck"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be more than 0 seconds, got {getattr(self, name)}.")


class Loop(Closing):
    """An iterator of observations around a loaded model. A context manager; any thread may close it.

    Attributes:
        source: The source's address, without secrets.
        context: What the sinks were told about this loop.
        remarks: What is found in pictures, what cannot be looked for, and why: one sentence each.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        make: Callable[[], Source],
        live: bool,
        newest_only: bool,
        settings: LoopSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = name
        self._model, self._settings, self._live, self._clock = model, settings, live, clock
        self._judge = Judge(model, settings.rules)
        self.remarks = self._judge.remarks
        self._tally, self._outlets = Tally(), Outlets()
        # A file is read no faster than its sinks take it.
        self._waits = not live and not newest_only
        self.context = SinkContext(
            model.manifest,
            model.engine_name,
            name,
            self.snapshot,
            settings.rules,
            waits=self._waits,
            run=Run.begin(model.manifest, settings.station),
        )
        self._numbers, self._name = count(1), ""
        self._stopping, self._closing = threading.Event(), threading.Lock()
        self._closed = False
        self._interrupted = False
        self._last_frame = self._last_word = clock()
        self._remembered = -MEMORY_SECONDS
        self._alarm: Alarm | None = None
        self._capture = Capture(make, live, newest_only, clock, name)
        self._watchdog = Watchdog(settings.stuck, self._stuck, self._alive, clock)

    @classmethod
    def of(
        cls,
        model: Model,
        source: str | int | Path | Source,
        *,
        every: str | None = None,
        sinks: Sequence[str] = (),
        alarms: Sequence[str] = (),
        settings: LoopSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Make a loop; see `Model.watch`. ``clock`` returns seconds on the monotonic clock."""
        if every is not None and every not in EVERY:
            raise OptionError(f"every must be one of {', '.join(EVERY)}, got '{every}'.")
        name, make, live, stills = _resolve(source)
        settings = settings or LoopSettings()
        settings = replace(settings, rules=_fitting(settings.rules, stills))
        newest_only = live if every is None else every == "latest"
        loop = cls(model, name, make, live, newest_only, settings, clock)
        try:
            for sink in sinks:
                loop.add(str(Address.parse(sink)), open_sink(sink, loop.context))
            for sink in alarms:
                loop.add_alarm(f"alarm {Address.parse(sink)}", open_sink(sink, loop.alarm_context))
        except BaseException:
            loop.close()
            raise
        return loop

    def add(self, address: str, sink: Sink) -> None:
        """Give verdicts to one more sink; the loop closes it.

        Args:
            address: What to call it; secrets in it are not shown.
            sink: See `edgecnn.runtime.sinks.Sink`.
        """
        self._outlets.add(redacted(address), sink)

    def add_alarm(self, address: str, sink: Sink) -> None:
        """Tell one more sink how the source and the other sinks do; the loop closes it. See `Alarm`.

        Args:
            address: What to call it, without secrets.
            sink: See `edgecnn.runtime.sinks.Sink`.
        """
        self._alarm = self._alarm or Alarm()
        self._alarm.outlets.add(address, sink)

    @property
    def alarm_context(self) -> SinkContext:
        """What sinks of alarms are told about this loop: there are no parts, and their records count for themselves."""
        run = replace(self.context.run, id=f"{self.context.run.id}-alarm")
        rules = replace(self.context.rules, parts=PartSettings(), empty=None)
        return replace(self.context, run=run, rules=rules, waits=False)

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
                    return observation
                if ended:
                    if self._waits:
                        self._outlets.finish(self._patience)
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
            sinks=self._outlets.figures() + (self._alarm.outlets.figures() if self._alarm else ()),
            source_failing=capture.failing,
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
            if self._alarm:
                self._alarm.outlets.close(ALARM_SECONDS)

    def _attempt(self) -> tuple[Observation | None, bool]:
        """Take a frame and judge it; None if none came, and whether none will come any more."""
        ended = self._capture.ended
        found = self._capture.take(min(WAIT_SECONDS, self._settings.silence))
        now = self._clock()
        if found is None:
            return (self._silence(now) if self._is_silent(now) else None), ended
        self._last_frame = self._last_word = now
        self._name = found[0].name
        observation = self._told(self._turn(*found))
        found[0].judged()
        return observation, False

    def _turn(self, shot: Shot, dropped: int) -> Observation:
        """Judge one frame."""
        if shot.frame is None:
            return self._observed(shot, dropped, Seen((Finding("unreadable", shot.error),)))
        memory = self._memory(shot.captured)
        try:
            tensor = self._model.prepare(shot.frame.image)
        except DataError as error:
            return self._observed(shot, dropped, Seen((Finding("unusable", str(error)),)))
        seen = self._judge.look(tensor, shot.frame.image.shape, _timestamp(shot), shot.frame.image)
        if seen.seconds:
            self._tally.inference.add(seen.seconds)
        return self._observed(shot, dropped, seen, tensor, memory)

    def _memory(self, captured: float) -> Mapping[str, Any] | None:
        """Return what the judge remembers before this turn, now and then, and only if a sink keeps it."""
        if not self._outlets.want_images or captured - self._remembered < MEMORY_SECONDS:
            return None
        self._remembered = captured
        return self._judge.memory()

    def _observed(
        self,
        shot: Shot,
        dropped: int,
        seen: Seen,
        tensor: Image | None = None,
        memory: Mapping[str, Any] | None = None,
    ) -> Observation:
        """Put a turn together."""
        age = self._clock() - shot.captured
        if self._live and age > self._settings.stale:
            reason = f"the verdict comes {age:.2f} s after the frame, {self._settings.stale:g} s are allowed"
            seen = replace(seen, findings=(*seen.findings, Finding("stale", reason)))
        concluded = self._judge.conclude(seen)
        changed, self._interrupted = concluded.changed or self._interrupted, False
        frame = shot.frame
        return Observation(
            number=next(self._numbers),
            verdict=concluded.verdict,
            state=concluded.state,
            changed=changed,
            captured=shot.captured,
            time=shot.time,
            timestamp=_timestamp(shot),
            age=age,
            part=concluded.part,
            findings=seen.findings,
            result=seen.result,
            image=None if frame is None else frame.image,
            tensor=tensor,
            edges=None if tensor is None else self._judge.edges,
            name=shot.name,
            truth=None if frame is None else frame.truth,
            dropped=dropped,
            memory=memory,
        )

    def _is_silent(self, now: float) -> bool:
        """Tell whether a frame is overdue: of a live source always, of one whose frames wait only if it is lost."""
        patience = self._settings.silence
        overdue = self._live or self._capture.lost_for(now) > patience
        return overdue and now - self._last_word > patience

    def _silence(self, now: float) -> Observation:
        """Say that there is no frame: the most dangerous picture is the one that does not come."""
        state = self._capture.state()
        self._last_word = now
        missing = now - self._last_frame if self._live else self._capture.lost_for(now)
        reason = f"no frame for {missing:.1f} s{': ' if state.error else ''}{state.error}"
        shot = Shot(None, "", now, time.time())
        return self._told(self._observed(shot, 0, Seen((Finding("no_frame", reason),))))

    def _told(self, observation: Observation) -> Observation:
        """Count an observation and give it to the sinks."""
        self._tally.count(observation)
        self._outlets.offer(observation, self._patience if self._waits else None)
        self._watchdog.beat()
        return observation

    def _alive(self) -> None:
        """Say that all is well with the loop, and what is lost around it; from the watchdog's thread."""
        self._settings.on_alive()
        if self._alarm:
            self._alarm.tell(self._lost())

    def _lost(self) -> dict[str, str]:
        """Return why the source and sinks fail, by name; those that do not are left out."""
        capture = self._capture.state()
        away = not capture.connected and not self._capture.ended
        lost = {self.source: capture.error or "not connected yet"} if away or capture.failing else {}
        return lost | self._outlets.lost()

    def _patience(self) -> bool:
        """Tell sinks that are waited for whether to go on; that is no sign of being stuck."""
        self._watchdog.beat()
        return not self._stopping.is_set()

    def _stuck(self, seconds: float) -> None:
        """Say INVALID for the loop, which cannot speak for itself; from the watchdog's thread."""
        finding = Finding("stuck", f"the engine, or the script around the loop, has not answered for {seconds:.1f} s")
        now, invalid, number = self._clock(), Verdict.INVALID, next(self._numbers)
        self._interrupted = True
        self._outlets.offer(
            Observation(
                number, invalid, invalid, True, now, time.time(), now, 0.0, findings=(finding,), name=self._name
            )
        )
        if self._alarm:
            self._alarm.tell(self._lost() | {"loop": finding.reason})
        self._settings.on_stuck(seconds)


def _timestamp(shot: Shot) -> float:
    known = None if shot.frame is None else shot.frame.timestamp
    return shot.captured if known is None else known


def _fitting(rules: Rules, stills: bool) -> Rules:
    """Return the rules for single pictures: each is judged alone and thoroughly, and needs no likeness to the last."""
    health, lanes = rules.health, rules.lanes
    if stills:
        health = replace(health, size=False, frozen_seconds=None)
        lanes = replace(lanes, smoothing=0.0, hold=0.0)
    if stills or rules.parts.mode == "frame":
        health = replace(health, check_seconds=0.0, persist_seconds=0.0)
    return replace(rules, health=health, lanes=lanes)


def _resolve(source: str | int | Path | Source) -> tuple[str, Callable[[], Source], bool, bool]:
    """Return a source's name without secrets, how to make it, whether it is live, and whether it gives stills."""
    if not isinstance(source, (str, int, Path)):
        # One object: it is used again where a fresh one would be made.
        live, stills = (bool(getattr(source, name, default)) for name, default in (("LIVE", True), ("STILLS", False)))
        return type(source).__name__, lambda: source, live, stills
    address = Address.parse(str(source))
    module = module_for(address)
    module.source(address)
    return str(address), lambda: module.source(address), module.LIVE, getattr(module, "STILLS", False)
