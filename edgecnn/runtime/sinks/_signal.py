"""What reject and fail-safe outputs do, whatever they are made of: coils of a controller, or pins.

1. A rejected part, or without parts a state that becomes REJECT, turns the reject output on for a pulse; another one
   during the pulse makes it longer.
2. The fail-safe output is on unless the state is PASS or REJECT: at the start, while pictures cannot be trusted, when
   the loop says nothing for ``stall`` seconds, and at the end. An INVALID part turns it on for a pulse.
3. A verdict that comes later than ``late`` after its frame pulses nothing, for another part may be in its place by
   then: it is counted as lost. So is one that could not be written; it is not made up for.
4. After a failure every output is written again, for nobody knows what they show. The fail-safe output is written at
   least every `CHECK_SECONDS`, for without a change nobody else would notice that nothing arrives any more.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from edgecnn.errors import SinkError
from edgecnn.runtime.address import Options
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.record import alarm
from edgecnn.vision.results import Verdict

REJECT, INVALID, STATE, HEARTBEAT = "reject", "invalid", "state", "heartbeat"
"""Names of outputs. STATE is a number, see `CODES`; HEARTBEAT changes as long as the loop lives."""
CODES = {None: 0, Verdict.PASS: 1, Verdict.REJECT: 2, Verdict.INVALID: 3}
RETRY_SECONDS = 0.5
BEAT_SECONDS = 0.5
CHECK_SECONDS = 1.0


class Outputs(Protocol):
    """Something with outputs. Used by one thread at a time."""

    def write(self, name: str, value: int) -> None:
        """Set one output: 0 or 1, a code for `STATE`. Names that it does not have are ignored.

        Raises:
            SinkError: If that fails.
        """
        ...

    def close(self) -> None:
        """Give everything back; raises nothing."""
        ...


@dataclass(frozen=True)
class Timing:
    """When outputs switch, all in seconds.

    Attributes:
        pulse: How long the reject output is on.
        late: Age above which a verdict is of no use any more.
        stall: Silence of the loop after which the fail-safe output is on; 0 for never.
    """

    pulse: float = 0.1
    late: float = 1.0
    stall: float = 5.0

    @classmethod
    def of(cls, options: Options) -> Timing:
        """Read ``pulse_ms``, ``late_ms`` and ``stall`` of an address.

        Raises:
            OptionError: If one of them is no number, or out of its range.
        """
        pulse, late = options.number("pulse_ms", 100, 1, 60_000), options.number("late_ms", 1000, 1, 60_000)
        return cls(pulse / 1000, late / 1000, options.number("stall", 5, 0, 3600))


class Signal:
    """A sink that drives outputs. Its own thread ends pulses in time: `idle` comes too seldom for that."""

    every_turn = True
    images = False

    def __init__(
        self, outputs: Outputs, timing: Timing, parts: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outputs, self._timing, self._parts, self._clock = outputs, timing, parts, clock
        self._until = {REJECT: -math.inf, INVALID: -math.inf}
        self._state: Verdict | None = None
        self._heard = self._beaten = clock()
        self._beat, self._checked = 0, -math.inf
        self._written: dict[str, int] = {}
        self._trouble, self._retry = "", -math.inf
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def send(self, observation: Observation) -> None:
        """Switch what this turn asks for."""
        with self._changed:
            now = self._clock()
            self._heard, self._state = now, observation.state
            if now - self._beaten >= BEAT_SECONDS:
                self._beaten, self._beat = now, 1 - self._beat
            verdict = alarm(observation, self._parts)
            late = verdict is not None and now - observation.captured > self._timing.late
            if verdict is None or late:
                self._apply()
            else:
                self._pulse(REJECT if verdict is Verdict.REJECT else INVALID)
        if late:
            age = now - observation.captured
            raise SinkError(
                f"a verdict came {age:.2f} s after its frame, later than {self._timing.late:g} s: not used."
            )

    def idle(self) -> None:
        """Write what is due: after the start, after a failure, and when the loop fell silent."""
        with self._changed:
            self._apply()

    def close(self) -> None:
        """Leave the outputs in the safe state."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._retry = -math.inf
            with suppress(SinkError):
                self._apply()
            self._changed.notify()
        if self._thread:
            self._thread.join(1.0)
        self._outputs.close()

    def _pulse(self, name: str) -> None:
        """Turn an output on, and off again after the pulse; the time counts from when it is on."""
        self._until[name] = math.inf
        try:
            self._apply()
        except SinkError:
            self._until[name] = -math.inf
            raise
        self._until[name] = self._clock() + self._timing.pulse
        if self._thread is None:
            self._thread = threading.Thread(target=self._end_pulses, name="edgecnn-pulse", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _wanted(self, now: float) -> dict[str, int]:
        """Return what the outputs shall show, the most urgent first."""
        if self._closed:
            return {REJECT: 0, INVALID: 1, STATE: CODES[None]}
        stalled = 0 < self._timing.stall < now - self._heard
        trusted = self._state in (Verdict.PASS, Verdict.REJECT) and not stalled
        return {
            REJECT: int(now < self._until[REJECT]),
            INVALID: int(not trusted or now < self._until[INVALID]),
            STATE: CODES[None if stalled else self._state],
            HEARTBEAT: self._beat,
        }

    def _apply(self) -> None:
        """Write what differs from what was written last.

        Raises:
            SinkError: If that fails, or failed a moment ago.
        """
        now = self._clock()
        if now < self._retry:
            raise SinkError(self._trouble)
        if now - self._checked >= CHECK_SECONDS:
            self._written.pop(INVALID, None)
            self._checked = now
        for name, value in self._wanted(now).items():
            if self._written.get(name) != value:
                self._write(name, value)

    def _write(self, name: str, value: int) -> None:
        try:
            self._outputs.write(name, value)
        except SinkError as error:
            self._written.clear()
            self._trouble, self._retry = str(error), self._clock() + RETRY_SECONDS
            raise
        self._written[name] = value

    def _end_pulses(self) -> None:
        with self._changed:
            while not self._closed:
                now = self._clock()
                ends = [end for end in self._until.values() if now < end]
                # A failure is tried again, and told, by idle.
                with suppress(SinkError):
                    self._apply()
                self._changed.wait(max(0.0, min(ends) - self._clock()) if ends else None)
