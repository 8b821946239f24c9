from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from edgecnn.runtime.loop import fault
from edgecnn.runtime.model import Model, load
from edgecnn.vision.results import Verdict
from tests.runtime.loop.fakes import ListSink, ScriptedSource, frames, lost, pause
from tests.waiting import joined, until


@pytest.fixture
def model(defect_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.setattr(fault, "SETTLE_SECONDS", 0.1)
    with load(defect_bundle, "reference") as loaded:
        yield loaded


def news(sink: ListSink) -> list[tuple[Verdict | None, str]]:
    """What an alarm said, and the reasons."""
    return [(seen.state, " ".join(found.reason for found in seen.findings)) for seen in list(sink.seen)]


def test_a_sink_that_fails_and_works_again(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgecnn")
    steps = (pause(0.01, frame) for _ in repeat(None) for frame in frames(3))
    alarm, events, failing = ListSink(), ListSink(every_turn=False), ListSink()
    with model.watch(ScriptedSource(steps)) as loop:
        for name, sink in (("alarm gpio:", alarm), ("alarm webhook:", events)):
            loop.add_alarm(name, sink)
        loop.add("modbus://plc", failing)
        thread = threading.Thread(target=lambda: list(loop))
        thread.start()
        until(lambda: news(alarm)[-1:] == [(Verdict.PASS, "")], "a start")
        failing._fails = True
        until(lambda: alarm.seen[-1].state is Verdict.INVALID, "the alarm")
        figures = loop.snapshot()
        failing._fails = False
        until(lambda: alarm.seen[-1].state is Verdict.PASS, "the end of the alarm")
        loop.stop()
        joined(thread)

    (reason,) = {text for state, text in news(alarm) if "modbus" in text}
    assert reason == "modbus://plc: OSError: no space left on device"
    assert [sink.failing for sink in figures.sinks] == [True, False, False]
    assert [sink.address for sink in figures.sinks] == ["modbus://plc", "alarm gpio:", "alarm webhook:"]
    assert [state for state, _ in news(events)][-3:] == [Verdict.PASS, Verdict.INVALID, Verdict.PASS]
    told = [record.getMessage() for record in caplog.records if record.name == "edgecnn.sink"]
    assert told[0] == "modbus://plc: lost: OSError: no space left on device"
    assert told[1].startswith("modbus://plc: back after")
    # It speaks all the time: an output that hears nothing goes to its safe state.
    assert len(alarm.seen) > len(events.seen)
    assert alarm.closed == events.closed == 1


def test_a_camera_that_is_lost_and_back(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgecnn")
    good = (pause(0.01, frame) for _ in repeat(None) for frame in frames(3))
    away, alarm = [False], ListSink(every_turn=False)

    def step() -> object:
        return lost("the cable is pulled") if away[0] else next(good)()

    with model.watch(ScriptedSource(repeat(step))) as loop:
        loop.add_alarm("alarm", alarm)
        thread = threading.Thread(target=lambda: list(loop))
        thread.start()
        until(lambda: news(alarm)[-1:] == [(Verdict.PASS, "")], "a start")
        away[0] = True
        until(lambda: news(alarm)[-1:] == [(Verdict.INVALID, "ScriptedSource: the cable is pulled")], "the alarm")
        assert loop.snapshot().source_failing
        away[0] = False
        until(lambda: news(alarm)[-1:] == [(Verdict.PASS, "")], "the end of the alarm")
        assert not loop.snapshot().source_failing
        loop.stop()
        joined(thread)

    told = [record.getMessage() for record in caplog.records if record.name == "edgecnn.source"]
    assert told[0] == "ScriptedSource: lost: the cable is pulled"
    assert told[1].startswith("ScriptedSource: back after")
