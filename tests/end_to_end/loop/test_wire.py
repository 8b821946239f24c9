"""Brokers and controllers really receive what a running loop decides; while they are away nothing waits for them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgecnn
from edgecnn.runtime.loop.loop import LoopSettings
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.loop.statistics import Snapshot
from edgecnn.runtime.model import Model
from edgecnn.runtime.sources.conveyor import ConveyorSource
from tests.end_to_end.loop.watch import MIXED, TRUSTING, UNHURRIED, Watch, write_tiny
from tests.runtime.sinks.brokers import Broker, Listener, free_port
from tests.runtime.sinks.test_modbus import controller
from tests.waiting import PATIENCE, joined, until

pytest.importorskip("paho.mqtt", reason="needs edgecnn[mqtt]")

SIZE, SEED = (128, 96), 3
BELT = f"conveyor:?fps=50&size=128x96&defects=0.5&parts=4&seed={SEED}"
TOPIC = "plant/line1"
PARTS = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with edgecnn.load(write_tiny(tmp_path_factory.mktemp("mixed"), MIXED), threads=1) as loaded:
        yield loaded


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    found.start()
    yield found
    found.end()


@contextmanager
def listening(broker: Broker) -> Iterator[Listener]:
    found = Listener(broker.port)
    try:
        yield found
    finally:
        found.close()


def by_part() -> LoopSettings:
    """One verdict a part, however slow this machine is."""
    parts = PartSettings(mode="gap", fill=0.6, clear=0.2)
    return replace(UNHURRIED, rules=Rules(parts=parts, empty=ConveyorSource(SIZE, seed=SEED).empty))


def verdicts(listener: Listener) -> list[dict[str, object]]:
    return [json.loads(text) for text in listener.payloads(f"{TOPIC}/verdict")]


def decided_by(watch: Watch) -> list[str]:
    return [turn.part.value for turn in list(watch.turns) if turn.part is not None]


def changed(states: list[str]) -> list[str]:
    return [state for state, before in zip(states, ["", *states], strict=False) if state != before]


def lost(figures: Snapshot) -> int:
    return sum(sink.lost for sink in figures.sinks)


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("trusting"), TRUSTING)


@contextmanager
def running(
    bundle: Path, *sinks: str, prefix: tuple[str, ...] = (), more: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A process that says PASS for ever."""
    line = ["run", str(bundle), "--source", "conveyor:?fps=20&size=64x64", "--threads", "1", "--json"]
    line += [
        "--silence",
        str(PATIENCE),
        "--stale",
        str(PATIENCE),
        *(word for sink in sinks for word in ("--sink", sink)),
    ]
    command = [*prefix, sys.executable, "-m", "edgecnn.cli.app", *line, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_end_leaves_a_pass_behind(trusting: Path, broker: Broker, number: signal.Signals) -> None:
    pytest.importorskip("pymodbus", reason="needs edgecnn[modbus]")
    with listening(broker) as listener, controller() as unit:
        sinks = (
            f"mqtt://127.0.0.1:{broker.port}/{TOPIC}",
            f"modbus://127.0.0.1:{unit.port}/coil/0?unit=7&stall=0&late_ms=60000",
        )
        with running(trusting, *sinks) as process:
            until(lambda: unit.coil(1)[-1:] == [0], "a state that can be trusted")
            until(lambda: listener.payloads(f"{TOPIC}/state")[-1:] == ["PASS"])
            until(lambda: listener.payloads(f"{TOPIC}/availability") == ["online"])
            process.send_signal(number)
            until(lambda: listener.payloads(f"{TOPIC}/state")[-1:] == ["UNKNOWN"])
            until(lambda: listener.payloads(f"{TOPIC}/availability")[-1:] == ["offline"])
            # Coils keep what a killed process left: for that there is the heartbeat.
            if number != signal.SIGKILL:
                assert process.wait(PATIENCE) == (130 if number == signal.SIGINT else 0)
                assert unit.coil(1)[-1] == 1
        with listening(broker) as late:
            until(lambda: late.payloads(f"{TOPIC}/state") == ["UNKNOWN"], "the retained state")
            assert late.payloads(f"{TOPIC}/verdict") == []


def test_a_controller_that_is_gone_is_told_and_drives_the_alarm(trusting: Path, tmp_path: Path) -> None:
    pytest.importorskip("pymodbus", reason="needs edgecnn[modbus]")
    port = free_port()
    sink, log = f"modbus://127.0.0.1:{port}/coil/0?unit=7&stall=0&late_ms=60000", tmp_path / "alarm.jsonl"
    with controller() as horn:
        alarms = [f"jsonl:{log}", f"modbus://127.0.0.1:{horn.port}/coil/0?unit=7"]
        with running(trusting, sink, more=tuple(word for alarm in alarms for word in ("--alarm", alarm))) as process:
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
            reader.start()
            until(lambda: any("warning: modbus" in line for line in lines), "a line on stderr")
            until(lambda: alarm_of(log)[-1:] == ["INVALID"], "the alarm")
            until(lambda: horn.coil(1)[-1:] == [1], "the horn")
            with controller(port) as unit:
                until(lambda: unit.coil(1)[-1:] == [0], "a state that can be trusted")
                until(lambda: any("note: modbus" in line and "back after" in line for line in lines), "another line")
                until(lambda: alarm_of(log)[-1:] == ["PASS"], "the end of the alarm")
                until(lambda: horn.coil(1)[-1:] == [0], "the horn falls silent")
            until(lambda: alarm_of(log)[-1:] == ["INVALID"], "the alarm, again")
            until(lambda: horn.coil(1)[-1:] == [1], "the horn, again")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            joined(reader)
    told = [finding["reason"] for record in records(log) for finding in record["findings"]]
    (reason, *_) = [text for text in told if "modbus" in text]
    assert reason.startswith(f"modbus://127.0.0.1:{port}/coil/0")
    assert "no answer" in reason


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def alarm_of(log: Path) -> list[object]:
    return [record["state"] for record in records(log)] if log.exists() else []


def test_a_hangup_behind_nohup_ends_nothing(trusting: Path, broker: Broker) -> None:
    with listening(broker) as listener:
        sink = f"mqtt://127.0.0.1:{broker.port}/{TOPIC}?every=turn"
        with running(trusting, sink, prefix=("nohup",)) as process:
            until(lambda: verdicts(listener), "the first verdict")
            process.send_signal(signal.SIGHUP)
            count = len(verdicts(listener))
            until(lambda: len(verdicts(listener)) > count + 20, "more verdicts")
            assert process.poll() is None


def test_every_part_s_verdict_comes_over_the_wire(model: Model, broker: Broker) -> None:
    pytest.importorskip("pymodbus", reason="needs edgecnn[modbus]")
    with listening(broker) as listener, controller() as unit:
        sinks = [
            f"mqtt://127.0.0.1:{broker.port}/{TOPIC}",
            # A pulse must not run into the next part's, however late this machine writes it.
            f"modbus://127.0.0.1:{unit.port}/coil/0?unit=7&register=5&pulse_ms=1&late_ms=60000&stall=0",
        ]
        loop = model.watch(BELT, sinks=sinks, settings=by_part())
        with Watch(loop) as watch:
            watch.until(lambda: len(decided_by(watch)) >= PARTS and len(set(decided_by(watch))) > 1, "parts")
        figures = loop.snapshot()
        watch.until(lambda: listener.payloads(f"{TOPIC}/availability")[-1:] == ["offline"], "the end")
        received = [record["part"]["verdict"] for record in verdicts(listener) if record["part"]]
        states = listener.payloads(f"{TOPIC}/state")
        rejects, registers = unit.coil(0), unit.register(5)

    decided = decided_by(watch)
    assert received == decided
    assert Counter(received) == Counter({name: count for name, count in figures.parts.items() if count})
    assert sum(rejects) == figures.parts["REJECT"]
    # On and off in turn: as many pulses as rejected parts, none of them for another part.
    assert rejects[rejects.index(1) :] == [1, 0] * figures.parts["REJECT"]
    # The state is told again on connecting.
    changes = changed([turn.state.value for turn in watch.turns if turn.state is not None])
    assert changed([state for state in states if state != "UNKNOWN"]) == changes
    codes = {"PASS": 1, "REJECT": 2, "INVALID": 3}
    assert [code for code in registers if code] == [codes[state] for state in changes]
    assert lost(figures) == 0


def test_a_broker_that_is_down_slow_and_back_again(model: Model, broker: Broker) -> None:
    broker.kill()
    sink = f"mqtt://127.0.0.1:{broker.port}/{TOPIC}?every=turn"
    loop = model.watch("conveyor:?fps=50&size=64x64", sinks=[sink], settings=UNHURRIED)
    with Watch(loop) as watch:
        watch.until(lambda: len(watch.turns) > 20, "turns without a broker")
        watch.until(lambda: "no connection" in loop.snapshot().sinks[0].error, "the reason")
        broker.start()
        with listening(broker) as listener:
            watch.until(lambda: len(verdicts(listener)) > 30, "the broker's first verdicts")
            broker.freeze()
            frozen = len(watch.turns)
            watch.until(lambda: len(watch.turns) > frozen + 40, "turns beside a broker that hangs")
            during = watch.turns[frozen:]
            broker.thaw()
            count = len(watch.turns)
            watch.until(lambda: len(verdicts(listener)) > count, "what waited")
            watch.loop.stop()
            joined(watch.thread)
            figures = loop.snapshot()
            watch.until(lambda: len(verdicts(listener)) >= figures.turns, "the rest")
            numbers = [record["number"] for record in verdicts(listener)]

    assert watch.error is None
    assert sorted(set(numbers)) == list(range(1, figures.turns + 1))
    assert lost(figures) == 0
    assert all(turn.trusted for turn in during)


def test_what_a_broker_that_stays_away_costs_is_counted(model: Model, broker: Broker) -> None:
    broker.kill()
    loop = model.watch("conveyor:?fps=0&size=64x64", sinks=[f"mqtt://127.0.0.1:{broker.port}/{TOPIC}?every=turn"])
    with Watch(loop) as watch:
        watch.until(lambda: lost(loop.snapshot()) > 100, "losses")
    figures = loop.snapshot()

    assert watch.error is None
    assert figures.sinks[0].delivered + figures.sinks[0].lost == figures.turns
    assert figures.sinks[0].waiting == 0
    assert figures.sinks[0].delivered == 0
    assert "1000 verdicts were not confirmed by the broker" in figures.sinks[0].error
