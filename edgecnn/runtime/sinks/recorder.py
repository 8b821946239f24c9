"""Pictures and clips of what was rejected or could not be trusted, with the moments before and after.

``recorder:events?before=1&after=0.5&budget_mb=1000&max_per_minute=30&repeat=60&memory_mb=128``. Every event is a folder
``<UTC>-<number>-<VERDICT>``, see `edgecnn.runtime.loop.event`. It appears whole or not at all; when all of them are
larger than the budget, the oldest go. An event is a rejected or INVALID part, or the state becoming REJECT or INVALID;
while that lasts there is another one every ``repeat`` seconds. What happens while an event is being gathered belongs to
it. Beyond ``max_per_minute`` events are not kept; the next one that is says how many (``suppressed``).

A turn counts as delivered when it was looked at, one that begins an event when the event is written.
Events are written by a thread of their own, because compressing a clip takes longer than frames may wait. All pictures
in memory take up to ``memory_mb``, those of one event at most half of it; while others are not written yet, there is
less for the next. What is too much for the disk is lost and counted; a source that waits (a file) waits for the disk.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgecnn.errors import OptionError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.event import Event, Moment, Origin, moment_of
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.record import alarm
from edgecnn.runtime.sinks import PATIENCE_SECONDS, Sink, SinkContext, unheard
from edgecnn.runtime.sinks._backlog import Backlog
from edgecnn.runtime.sinks._shelf import Shelf
from edgecnn.vision.results import Verdict

EXAMPLE = "recorder:events"
WAITING = 2
"""Complete events that may wait while another one is written."""
CLOSE_SECONDS = 5.0
"""Longest that the end waits for events to be written."""
MOST_PER_MINUTE = 1000
_MINUTE = 60.0


@dataclass(frozen=True)
class Limits:
    """How much is kept.

    Attributes:
        before: Seconds before an event.
        after: Seconds after it.
        patience: Seconds to wait for the disk before something is lost; 0 where the source does not wait.
        memory: Bytes of pictures in memory, of the event that is gathered and of those that are not written yet.
        per_minute: Events in any minute.
        repeat: Seconds after which a state that lasts is an event again.
    """

    before: float = 1.0
    after: float = 0.5
    memory: int = 128_000_000
    per_minute: int = 30
    repeat: float = 60.0
    patience: float = 0.0


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that records; see this file's docstring.

    Raises:
        OptionError: If there is no folder, or an option is wrong.
        SinkError: If the folder cannot be made, or another process records to it.
    """
    if not address.path or address.host:
        raise OptionError(f"{address}: expected a folder behind 'recorder:', for example {EXAMPLE}")
    options = address.options()
    limits = Limits(
        options.number("before", 1, 0, 60),
        options.number("after", 0.5, 0, 60),
        int(options.number("memory_mb", 128, 0.001, 1e5) * 1e6),
        # Of a file, minutes of its reading mean nothing.
        options.integer("max_per_minute", MOST_PER_MINUTE if context.waits else 30, 1, MOST_PER_MINUTE),
        options.number("repeat", 60, 1, 1e6),
        PATIENCE_SECONDS if context.waits else 0.0,
    )
    budget = int(options.number("budget_mb", 1000, 0.001, 1e9) * 1e6)
    options.done()
    origin = Origin(context.run, context.engine, context.source, context.rules)
    return Recorder(Shelf(Path(address.path), budget), limits, origin, context.parts)


class Recorder:
    """Keeps the last moments in memory, and has them written when something happens."""

    every_turn = True
    images = True

    def __init__(self, shelf: Shelf, limits: Limits, origin: Origin, parts: bool) -> None:
        self._shelf, self._limits, self._origin, self._parts = shelf, limits, origin, parts
        self._backlog = Backlog("edgecnn-events", WAITING, shelf.close)
        self._ring: deque[Moment] = deque()
        self._held = 0
        self._worst: Observation | None = None
        self._open: tuple[Verdict, Observation] | None = None
        self._times: deque[float] = deque(maxlen=limits.per_minute)
        self._suppressed = 0
        self.confirm = unheard

    @property
    def trouble(self) -> str:
        """Why the last event is lost; empty if it was written."""
        return self._backlog.trouble

    def send(self, observation: Observation) -> None:
        """Keep a moment; begin an event, or hand over the one that is complete with it."""
        full = self._keep(moment_of(observation, self._origin.run))
        if self._open is None:
            self._remember(observation)
            self._begin(observation)
        if self._open is None or self._open[1] is not observation:
            self.confirm(time.monotonic() - observation.captured)
        if full or self._is_over(observation.captured):
            self._hand_over()

    def idle(self) -> None:
        """Hand over an event that no further frame completes.

        Raises:
            SinkError: If events were lost; each counts as one turn, the one that began it.
        """
        if self._is_over(time.monotonic()):
            self._hand_over()
        self._backlog.complain()

    def flush(self) -> None:
        """Wait until the events that are complete are written, for at most `CLOSE_SECONDS`.

        Raises:
            SinkError: As `idle`.
        """
        self._backlog.flush(CLOSE_SECONDS)
        self._backlog.complain()

    def close(self) -> None:
        """Write the event that was begun and those that wait, for at most `CLOSE_SECONDS`, and let go of the folder.

        Raises:
            SinkError: As `idle`.
        """
        self._hand_over()
        self._backlog.flush(max(CLOSE_SECONDS, self._limits.patience))
        self._backlog.close()
        self._backlog.complain()

    def _keep(self, moment: Moment) -> bool:
        """Add a moment to the ring; return whether an event must end because memory does.

        The oldest moments go: those that are too old to be before an event, and without an event those that memory has
        no room for.
        """
        self._ring.append(moment)
        self._held += moment.size
        room = self._room()
        if self._limits.patience and self._held > room:
            self._backlog.flush(self._limits.patience)
            room = self._room()
        full = self._held > room
        if self._open is None:
            oldest = moment.captured - self._limits.before
            while len(self._ring) > 1 and (self._ring[0].captured < oldest or self._held > room):
                self._held -= self._ring.popleft().size
        return full

    def _room(self) -> int:
        """Return how many bytes of pictures there is memory for, beside what waits to be written."""
        return min(self._limits.memory // 2, self._limits.memory - self._backlog.held)

    def _remember(self, observation: Observation) -> None:
        """Keep the worst of the last frames: when a part is judged, it may have left the picture."""
        if observation.verdict not in (Verdict.REJECT, Verdict.INVALID) or observation.image is None:
            return
        worst = self._worst
        old = worst is None or observation.captured - worst.captured > self._limits.before
        if worst is None or old or (observation.score or 0.0) >= (worst.score or 0.0):
            self._worst = observation

    def _begin(self, observation: Observation) -> None:
        """Begin an event if there is one and it may be kept."""
        now = observation.captured
        verdict = alarm(observation, self._parts) or self._lasting(observation)
        if verdict is None:
            return
        if len(self._times) == self._limits.per_minute and now - self._times[0] < _MINUTE:
            self._suppressed += 1
            return
        self._times.append(now)
        self._open = verdict, observation

    def _lasting(self, observation: Observation) -> Verdict | None:
        """Return a state that is bad for so long that it is an event again; without a frame there is nothing new."""
        state = observation.state
        if observation.image is None:
            return None
        bad = state is Verdict.INVALID or (state is Verdict.REJECT and not self._parts)
        due = not self._times or observation.captured - self._times[-1] >= self._limits.repeat
        return state if bad and due else None

    def _is_over(self, now: float) -> bool:
        return self._open is not None and now - self._open[1].captured >= self._limits.after

    def _hand_over(self) -> None:
        """Let the open event, if there is one, be written."""
        if self._open is None:
            return
        verdict, trigger = self._open
        event = Event(verdict, trigger, self._decided(verdict, trigger), tuple(self._ring), self._suppressed)
        self._open, self._worst = None, None
        if self._backlog.add(partial(self._write, event), self._held, self._limits.patience):
            self._suppressed = 0

    def _write(self, event: Event) -> None:
        self._shelf.put(event.name, lambda folder: event.write(folder, self._origin))
        self.confirm(time.monotonic() - event.trigger.captured)

    def _decided(self, verdict: Verdict, trigger: Observation) -> Observation:
        """Return the frame to show."""
        worst = self._worst
        return trigger if worst is None or worst.verdict is not verdict else worst
