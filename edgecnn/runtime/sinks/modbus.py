"""Modbus TCP: the reject signal and the fail-safe output as coils of a controller.

``modbus://plc:502/coil/0?unit=1&pulse_ms=100&invalid=1&register=0&heartbeat=2``: coil 0 is the reject output, coil
``invalid`` (the next one if not given) the fail-safe output; see `edgecnn.runtime.sinks._signal` for when they switch.
A holding ``register`` shows the state (0 unknown, 1 PASS, 2 REJECT, 3 INVALID), and the coil ``heartbeat`` changes
about every half second while the loop lives; both only if they are given. Coils keep their last value when this process
is killed or the cable is cut: a controller that must notice watches the heartbeat.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address, Options
from edgecnn.runtime.sinks import Sink, SinkContext, missing
from edgecnn.runtime.sinks._signal import HEARTBEAT, INVALID, REJECT, STATE, Signal, Timing

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

EXAMPLE = "modbus://plc/coil/0"
ANSWER_SECONDS = 0.5
_LAST = 65535


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that drives coils; see this file's docstring.

    Raises:
        OptionError: If host or coil is missing, two outputs are the same, or an option is wrong.
        SinkError: If pymodbus is not installed.
    """
    coil = re.fullmatch(r"/coil/(\d{1,5})", address.path)
    if not address.host or not coil or int(coil[1]) > _LAST:
        raise OptionError(f"{address}: expected a controller and a coil in 0 .. {_LAST}, for example {EXAMPLE}")
    options = address.options()
    unit = options.integer("unit", 1, 0, 255)
    timing = Timing.of(options)
    coils = _coils(options, int(coil[1]))
    register = options.integer("register", 0, 0, _LAST) if options.text("register") else None
    options.done()
    if len(set(coils.values())) < len(coils):
        raise OptionError(f"{address}: every output needs a coil of its own, got {coils}.")
    try:
        from pymodbus.client import ModbusTcpClient
    except ImportError as error:
        raise missing("modbus", "edgecnn[modbus]", error) from error
    # Without any handler Python prints what a library logs; what went wrong is in the sink's figures.
    logging.getLogger("pymodbus.logging").addHandler(logging.NullHandler())
    client = ModbusTcpClient(address.host, port=address.port or 502, timeout=ANSWER_SECONDS, retries=0)
    return Signal(Controller(client, str(address), unit, coils, register), timing, context.parts)


def _coils(options: Options, reject: int) -> dict[str, int]:
    coils = {REJECT: reject, INVALID: options.integer("invalid", min(reject + 1, _LAST), 0, _LAST)}
    if options.text("heartbeat"):
        coils[HEARTBEAT] = options.integer("heartbeat", 0, 0, _LAST)
    return coils


class Controller:
    """The coils of one unit behind Modbus TCP, and perhaps one register.

    Args:
        client: Connects by itself when it is used.
        shown: The address, without secrets.
        unit: Number of the unit.
        coils: Coil by output.
        register: Holding register for the state, None for none.
    """

    def __init__(
        self, client: ModbusTcpClient, shown: str, unit: int, coils: dict[str, int], register: int | None
    ) -> None:
        self._client, self._shown, self._unit = client, shown, unit
        self._hang_up: Callable[[], None] = client.close
        self._coils, self._register = coils, register

    def write(self, name: str, value: int) -> None:
        """Set one output, and wait for the answer.

        Raises:
            SinkError: If there is no answer in time, or the controller refuses.
        """
        from pymodbus.exceptions import ModbusException

        try:
            if name in self._coils:
                answer = self._client.write_coil(self._coils[name], bool(value), device_id=self._unit)
            elif name == STATE and self._register is not None:
                answer = self._client.write_register(self._register, value, device_id=self._unit)
            else:
                return
        except (ModbusException, OSError) as error:
            # A late answer must not be taken for that to the next request.
            self._hang_up()
            raise SinkError(f"{self._shown}: no answer: {error}") from error
        if answer.isError():
            raise SinkError(f"{self._shown}: '{name}' was refused: {answer}. Is it a coil or register of this unit?")

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
