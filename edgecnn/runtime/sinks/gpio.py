"""GPIO: the reject signal and the fail-safe output as pins, by gpiozero.

``gpio://17?invalid=27&pulse_ms=100&active=high&invalid_active=low``: pin 17 (Broadcom numbers) is the reject output,
pin ``invalid`` the fail-safe output; see `edgecnn.runtime.sinks._signal` for when they switch. The fail-safe output is
``low`` when it is on unless told otherwise: a pin is released when the process ends, and a relay that is held only as
long as all is well falls off then, as it does without power.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sinks import Sink, SinkContext, missing
from edgecnn.runtime.sinks._signal import INVALID, REJECT, Signal, Timing

EXAMPLE = "gpio://17?invalid=27"
_LAST = 255
_LEVELS = ("high", "low")


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that drives two pins; both are in the safe state from now on.

    Raises:
        OptionError: If a pin is missing, both are the same, or an option is wrong.
        SinkError: If gpiozero is not installed, or the pins cannot be used on this machine.
    """
    options = address.options()
    timing = Timing.of(options)
    levels = {
        REJECT: options.choice("active", "high", _LEVELS),
        INVALID: options.choice("invalid_active", "low", _LEVELS),
    }
    pin, safe = address.host or address.path, options.text("invalid")
    options.done()
    numbers = [int(text) for text in (pin, safe) if text.isdecimal() and int(text) <= _LAST]
    if len(set(numbers)) != len(levels):
        raise OptionError(f"{address}: expected a pin, and another one for the fail-safe output, for example {EXAMPLE}")
    pins = dict(zip(levels, numbers, strict=True))
    return Signal(Pins(_open(address, pins, levels), str(address)), timing, context.parts)


def _open(address: Address, pins: dict[str, int], levels: dict[str, str]) -> dict[str, Any]:
    """Open the pins as outputs: reject off, fail-safe on.

    Raises:
        SinkError: If that fails.
    """
    try:
        from gpiozero import GPIOZeroError, OutputDevice
    except ImportError as error:
        raise missing("gpio", "edgecnn[gpio]", error) from error
    devices: dict[str, Any] = {}
    try:
        for name, pin in pins.items():
            devices[name] = OutputDevice(pin, active_high=levels[name] == "high", initial_value=name == INVALID)
    except (GPIOZeroError, OSError, RuntimeError) as error:
        for device in devices.values():
            device.close()
        raise SinkError(f"{address}: the pins cannot be used: {error}") from error
    return devices


class Pins:
    """Output pins by name."""

    def __init__(self, devices: dict[str, Any], shown: str) -> None:
        self._devices, self._shown = devices, shown

    def write(self, name: str, value: int) -> None:
        """Set one pin.

        Raises:
            SinkError: If that fails.
        """
        if name not in self._devices:
            return
        try:
            self._devices[name].value = value
        except Exception as error:  # whichever library is behind gpiozero raises what it likes
            raise SinkError(f"{self._shown}: the pin for '{name}' cannot be set: {error}") from error

    def close(self) -> None:
        """Release the pins."""
        for device in self._devices.values():
            with suppress(Exception):
                device.close()
