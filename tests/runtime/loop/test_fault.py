from __future__ import annotations

import logging

import pytest

from edgecnn.runtime.loop.fault import REPEAT_SECONDS, SETTLE_SECONDS, Fault
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fault(clock: Clock, caplog: pytest.LogCaptureFixture) -> Fault:
    caplog.set_level(logging.INFO, "edgecnn")
    return Fault("modbus://plc", logging.getLogger("edgecnn.sink"), clock)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_it_is_told_when_it_begins_and_when_it_is_over(
    fault: Fault, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fault.update("")
    assert (told(caplog), fault.reason) == ([], "")
    for _ in range(10):
        fault.update("no answer")
        clock.sleep(1.0)
    assert fault.reason == "no answer"
    clock.sleep(SETTLE_SECONDS)
    fault.update("")
    fault.update("")
    assert fault.reason == ""
    assert told(caplog) == [
        ("WARNING", "modbus://plc: lost: no answer"),
        ("INFO", f"modbus://plc: back after {10 + SETTLE_SECONDS:.0f} s"),
    ]
    assert {record.name for record in caplog.records} == {"edgecnn.sink"}


def test_what_comes_and_goes_is_one_fault(fault: Fault, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(60):
        fault.update(f"late by {number} ms")
        clock.sleep(SETTLE_SECONDS / 2)
        fault.update("")
        assert fault.reason
    assert [level for level, _ in told(caplog)] == ["WARNING"] * (1 + int(59 * SETTLE_SECONDS / 2 / REPEAT_SECONDS))


def test_another_reason_is_told_after_a_while(fault: Fault, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for reason in ("no answer", "refused", "refused"):
        fault.update(reason)
        clock.sleep(REPEAT_SECONDS)
    assert [text for _, text in told(caplog)] == ["modbus://plc: lost: no answer", "modbus://plc: lost: refused"]
