from __future__ import annotations

import math
import time

import pytest

from edgecnn.errors import SinkError
from edgecnn.runtime.sinks._signal import CHECK_SECONDS, HEARTBEAT, INVALID, REJECT, STATE, Signal, Timing
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.sinks.observations import judged, nothing_left, observed, turned
from tests.waiting import until


class Panel:
    """Outputs that remember what was written to them, and when."""

    def __init__(self) -> None:
        self.shown: dict[str, int] = {}
        self.written: list[tuple[str, int]] = []
        self.times: list[float] = []
        self.broken = self.closed = False
        self.failures = 0

    def write(self, name: str, value: int) -> None:
        if self.broken:
            self.failures += 1
            raise SinkError("the cable is cut")
        self.times.append(time.monotonic())
        self.shown[name] = value
        self.written.append((name, value))

    def close(self) -> None:
        self.closed = True

    def pulses(self, name: str) -> int:
        return self.written.count((name, 1))


def timing(pulse: float) -> Timing:
    """A pulse by the real clock; on a busy machine no verdict is too late for it."""
    return Timing(pulse, late=math.inf, stall=0)


def test_fail_safe_at_the_start_and_at_the_end() -> None:
    panel = Panel()
    with nothing_left():
        signal = Signal(panel, Timing(), parts=False)
        signal.idle()
        assert panel.shown == {REJECT: 0, INVALID: 1, STATE: 0, HEARTBEAT: 0}
        signal.send(turned(1, Verdict.PASS))
        assert panel.shown[INVALID] == 0
        signal.close()
        signal.close()
    assert (panel.shown[REJECT], panel.shown[INVALID], panel.shown[STATE], panel.closed) == (0, 1, 0, True)


@pytest.mark.parametrize(
    ("state", "invalid", "code"),
    [(Verdict.PASS, 0, 1), (Verdict.REJECT, 0, 2), (Verdict.INVALID, 1, 3), (None, 1, 0)],
)
def test_fail_safe_is_on_unless_the_state_can_be_trusted(state: Verdict | None, invalid: int, code: int) -> None:
    panel = Panel()
    Signal(panel, Timing(), parts=True).send(observed(1, state))
    assert (panel.shown[INVALID], panel.shown[STATE], panel.shown[REJECT]) == (invalid, code, 0)


def test_a_reject_is_a_pulse_of_its_length() -> None:
    panel = Panel()
    signal = Signal(panel, timing(pulse=0.15), parts=False)
    signal.send(turned(1, Verdict.REJECT))
    until(lambda: panel.shown[REJECT] == 0, "the end of the pulse")
    assert panel.written[0] == (REJECT, 1)
    assert panel.times[panel.written.index((REJECT, 0))] - panel.times[0] >= 0.15
    signal.send(observed(2, Verdict.REJECT))
    assert panel.pulses(REJECT) == 1
    signal.close()


def test_every_rejected_part_is_a_pulse() -> None:
    panel = Panel()
    signal = Signal(panel, timing(pulse=0.01), parts=True)
    signal.send(turned(1, Verdict.REJECT))
    assert panel.pulses(REJECT) == 0
    for number in (2, 3):
        signal.send(judged(number, Verdict.REJECT))
        until(lambda: panel.shown[REJECT] == 0)
    signal.send(judged(4, Verdict.PASS))
    assert panel.pulses(REJECT) == 2
    signal.close()


def test_a_second_reject_makes_the_pulse_longer() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(pulse=1.0), parts=True, clock=clock)
    for now in (1000.0, 1000.8):
        clock.now = now
        signal.send(judged(verdict=Verdict.REJECT, captured=now))
    for now, expected in ((1001.5, 1), (1001.9, 0)):
        clock.now = now
        signal.idle()
        assert panel.shown[REJECT] == expected
    assert panel.pulses(REJECT) == 1
    signal.close()


def test_an_invalid_part_is_not_let_through() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(pulse=1.0), parts=True, clock=clock)
    signal.send(judged(1, Verdict.INVALID, state=Verdict.PASS, captured=1000.0))
    assert (panel.shown[INVALID], panel.shown[REJECT]) == (1, 0)
    clock.now = 1001.5
    signal.idle()
    assert panel.shown[INVALID] == 0
    signal.close()


def test_a_late_reject_hits_no_other_part_and_is_lost() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(late=0.5), parts=True, clock=clock)
    with pytest.raises(SinkError, match=r"later than 0\.5 s"):
        signal.send(judged(1, Verdict.REJECT, captured=999.4))
    assert panel.pulses(REJECT) == 0
    assert panel.shown[STATE] == 2
    signal.close()


def test_a_silent_loop_is_invalid_until_it_speaks_again() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(stall=3.0), parts=False, clock=clock)
    seen = []
    for now, speaks in ((1000.0, True), (1002.9, False), (1003.1, False), (1003.2, True)):
        clock.now = now
        if speaks:
            signal.send(observed(1, Verdict.PASS, captured=now))
        signal.idle()
        seen.append((panel.shown[INVALID], panel.shown[STATE]))
    assert seen == [(0, 1), (0, 1), (1, 0), (0, 1)]
    signal.close()


def test_stall_0_waits_for_ever() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(stall=0), parts=False, clock=clock)
    signal.send(observed(1, Verdict.PASS, captured=1000.0))
    clock.now = 9000.0
    signal.idle()
    assert panel.shown[INVALID] == 0
    signal.close()


def test_the_heart_beats_while_the_loop_speaks() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(), parts=False, clock=clock)
    beats = []
    for step in range(5):
        clock.now = 1000.0 + 0.3 * step
        signal.send(observed(step, Verdict.PASS, captured=clock.now))
        beats.append(panel.shown[HEARTBEAT])
    clock.now = 1003.0
    signal.idle()
    assert beats == [0, 0, 1, 1, 0]
    assert panel.shown[HEARTBEAT] == 0
    signal.close()


def test_nothing_is_written_twice() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(), parts=False, clock=clock)
    for number in range(5):
        signal.send(observed(number, Verdict.PASS, captured=clock.now))
        signal.idle()
    assert len(panel.written) == 4
    signal.close()


def test_outputs_that_are_gone_are_noticed_though_nothing_changes() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(), parts=False, clock=clock)
    signal.send(observed(1, Verdict.PASS, captured=clock.now))
    panel.broken = True
    clock.sleep(CHECK_SECONDS)
    with pytest.raises(SinkError, match="cable"):
        signal.send(observed(2, Verdict.PASS, captured=clock.now))
    signal.close()


def test_a_failure_loses_the_reject_and_writes_everything_again() -> None:
    panel, clock = Panel(), Clock()
    signal = Signal(panel, Timing(pulse=60.0, late=60.0), parts=False, clock=clock)
    signal.send(observed(1, Verdict.PASS, captured=1000.0))
    panel.broken = True
    with pytest.raises(SinkError, match="cable"):
        signal.send(turned(2, Verdict.REJECT, captured=1000.0))
    panel.broken = False
    panel.written.clear()
    with pytest.raises(SinkError, match="cable"):
        signal.idle()
    assert panel.written == []
    clock.now = 1001.0
    signal.idle()
    assert dict(panel.written) == {REJECT: 0, INVALID: 0, STATE: 2, HEARTBEAT: 0}
    signal.close()


def test_a_pulse_that_could_not_end_is_ended_later() -> None:
    panel = Panel()
    signal = Signal(panel, timing(pulse=0.05), parts=False)
    signal.send(turned(1, Verdict.REJECT))
    panel.broken = True
    until(lambda: panel.failures > 0)
    panel.broken = False

    def ended() -> bool:
        try:
            signal.idle()
        except SinkError:
            return False
        return panel.shown[REJECT] == 0

    until(ended)
    signal.close()


def test_closing_writes_the_safe_state_right_after_a_failure() -> None:
    panel = Panel()
    signal = Signal(panel, Timing(), parts=False)
    signal.send(observed(1, Verdict.PASS))
    panel.broken = True
    with pytest.raises(SinkError):
        signal.send(turned(2, Verdict.INVALID))
    panel.broken = False
    signal.close()
    assert panel.shown[INVALID] == 1
