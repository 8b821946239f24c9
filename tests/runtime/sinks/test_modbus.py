from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.sinks import Sink, modbus, open_sink
from edgecnn.runtime.sinks._signal import RETRY_SECONDS, Signal
from edgecnn.runtime.sinks.modbus import ANSWER_SECONDS
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.sinks.observations import context, nothing_left, observed, turned
from tests.waiting import PATIENCE, until

pytest.importorskip("pymodbus", reason="needs edgecnn[modbus]")

from pymodbus.client import tcp
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


class Controller:
    """A Modbus TCP server in a thread, with 16 coils and 16 registers, that remembers every write."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.writes: list[tuple[int, int, int]] = []
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _action(
        self, function: int, start: int, address: int, count: int, registers: list[int], values: object
    ) -> None:
        if values is not None:
            assert isinstance(values, list)
            self.writes.append((function, address, int(values[0])))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        coils = [SimData(0, datatype=DataType.BITS, values=[False] * 16)]
        words = [SimData(0, datatype=DataType.REGISTERS, values=[0] * 16)]
        device = SimDevice(7, simdata=(coils, coils, words, words), action=self._action)
        self._server = ModbusTcpServer(device, address=("127.0.0.1", self.port))
        serving = asyncio.create_task(self._server.serve_forever())
        while not self._server.transport:
            await asyncio.sleep(0.01)
        self.port = self._server.transport.sockets[0].getsockname()[1]
        self._ready.set()
        await serving

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(PATIENCE)
        self._thread.join()

    def coil(self, address: int) -> list[int]:
        return [value for function, at, value in list(self.writes) if (function, at) == (5, address)]

    def changes(self, address: int) -> list[int]:
        """Return what was written to a coil, without what it showed already."""
        written = self.coil(address)
        return [value for value, before in zip(written, [None, *written], strict=False) if value != before]

    def register(self, address: int) -> list[int]:
        return [value for function, at, value in list(self.writes) if (function, at) == (6, address)]


@contextmanager
def controller(port: int = 0) -> Iterator[Controller]:
    found = Controller(port)
    try:
        yield found
    finally:
        found.stop()


def opened(port: int, options: str = "", coil: int = 0) -> Sink:
    """No verdict is too late, however busy this machine is."""
    return open_sink(f"modbus://127.0.0.1:{port}/coil/{coil}?unit=7&late_ms=60000&stall=0&{options}", context())


def test_a_controller_really_gets_the_reject_and_the_fail_safe() -> None:
    with nothing_left(), controller() as plc:
        sink = opened(plc.port, "pulse_ms=50&register=4", coil=3)
        sink.idle()
        assert (plc.coil(3), plc.coil(4), plc.register(4)) == ([0], [1], [0])
        sink.send(observed(1, Verdict.PASS))
        sink.send(turned(2, Verdict.REJECT))
        assert plc.coil(3)[:2] == [0, 1]
        until(lambda: plc.coil(3) == [0, 1, 0], "the end of the pulse")
        sink.send(turned(3, Verdict.INVALID))
        sink.close()
        assert plc.changes(4) == [1, 0, 1]
        assert plc.register(4) == [0, 1, 2, 3, 0]


def test_other_coils_and_the_heartbeat() -> None:
    with controller() as plc:
        sink = opened(plc.port, "invalid=9&heartbeat=10")

        def beaten() -> bool:
            sink.send(observed(1, Verdict.PASS))
            return len(plc.coil(10)) >= 3

        until(beaten)
        sink.close()
        assert plc.changes(9) == [0, 1]
        assert plc.coil(10)[:3] == [0, 1, 0]


def test_a_controller_that_goes_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with nothing_left():
        with controller() as plc:
            port = plc.port
            sink = opened(port)
            assert isinstance(sink, Signal)
            sink._clock = clock
            sink.send(observed(1, Verdict.PASS))
        with pytest.raises(SinkError, match="no answer"):
            sink.send(turned(2, Verdict.REJECT))
        with controller(port) as plc:
            clock.sleep(RETRY_SECONDS / 2)
            with pytest.raises(SinkError, match="no answer"):
                sink.idle()
            clock.sleep(RETRY_SECONDS / 2)
            sink.idle()
            assert (plc.coil(0), plc.coil(1)) == ([0], [0])
            sink.close()
            assert plc.coil(1) == [0, 1]
    logger = logging.getLogger("pymodbus.logging")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def test_a_controller_that_is_not_there_at_the_start() -> None:
    with controller() as plc:
        port = plc.port
    with nothing_left():
        sink = opened(port)
        for step in (sink.idle, lambda: sink.send(observed(1, Verdict.PASS))):
            with pytest.raises(SinkError, match="no answer"):
                step()
        sink.close()


def test_a_controller_that_never_answers_costs_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def selected(*waiting: object) -> object:
        waited.append(waiting[-1])
        return select.select(*waiting)

    monkeypatch.setattr(modbus, "ANSWER_SECONDS", ANSWER_SECONDS)
    monkeypatch.setattr(tcp, "select", SimpleNamespace(select=selected))
    with nothing_left(), socket.create_server(("127.0.0.1", 0)) as silent:
        sink = opened(silent.getsockname()[1])
        with pytest.raises(SinkError, match="no answer"):
            sink.send(turned(1, Verdict.REJECT))
        assert waited == pytest.approx([0.5], abs=0.01)
        sink.close()


def test_a_coil_that_does_not_exist_is_told() -> None:
    with controller() as plc:
        sink = opened(plc.port, coil=300)
        with pytest.raises(SinkError, match="'reject' was refused"):
            sink.idle()
        sink.close()


@pytest.mark.parametrize(
    "address",
    [
        "modbus://plc",
        "modbus:/coil/1",
        "modbus://plc/coil/70000",
        "modbus://plc/coil/1?invalid=1",
        "modbus://plc/coil/1?heartbeat=2",
        "modbus://plc/coil/1?pulse_ms=0",
        "modbus://plc/coil/1?puls=5",
    ],
)
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(OptionError):
        open_sink(address, context())
