from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.sinks import open_sink
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.observations import context, nothing_left, observed, turned
from tests.waiting import until

gpiozero = pytest.importorskip("gpiozero", reason="needs edgecnn[gpio]")
MockFactory = pytest.importorskip("gpiozero.pins.mock").MockFactory


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockFactory]:
    """Pins that are only there in memory."""
    pins = MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", pins)
    yield pins
    pins.reset()


@pytest.mark.parametrize(
    ("options", "reject_on", "invalid_on"),
    [("", True, False), ("&active=low", False, False), ("&invalid_active=high", True, True)],
)
def test_pins_show_reject_and_fail_safe(factory: MockFactory, options: str, reject_on: bool, invalid_on: bool) -> None:
    reject, invalid = factory.pin(17), factory.pin(27)
    with nothing_left():
        sink = open_sink(f"gpio://17?invalid=27&pulse_ms=30&late_ms=60000&stall=0{options}", context())
        assert (reject.state, invalid.state) == (not reject_on, invalid_on)
        sink.send(observed(1, Verdict.PASS))
        assert invalid.state is not invalid_on
        reject.clear_states()
        sink.send(turned(2, Verdict.REJECT))
        until(lambda: len(reject.states) == 3, "the end of the pulse")
        assert [state.state for state in reject.states] == [not reject_on, reject_on, not reject_on]
        sink.send(turned(3, Verdict.INVALID))
        assert invalid.state is invalid_on
        sink.close()
    assert (reject.function, invalid.function) == ("input", "input")


def test_pins_are_in_the_safe_state_when_they_are_released(
    factory: MockFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = open_sink("gpio:17?invalid=27", context())
    sink.send(observed(1, Verdict.PASS))
    invalid, closing = factory.pin(27), []
    close = gpiozero.OutputDevice.close

    def spy(device: gpiozero.OutputDevice) -> None:
        closing.append(invalid.state)
        close(device)

    monkeypatch.setattr(gpiozero.OutputDevice, "close", spy)
    sink.close()
    assert closing[0] is False


def test_a_pin_that_is_taken(factory: MockFactory) -> None:
    with gpiozero.OutputDevice(27), pytest.raises(SinkError, match="cannot be used"):
        open_sink("gpio://17?invalid=27", context())
    open_sink("gpio://17?invalid=27", context()).close()


@pytest.mark.parametrize(
    "address",
    ["gpio://17", "gpio://17?invalid=17", "gpio://x?invalid=2", "gpio:?invalid=2", "gpio://17?invalid=2&on=1"],
)
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(OptionError):
        open_sink(address, context())
