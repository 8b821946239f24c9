"""Where verdicts go to, one file a kind, found by the scheme of its address.

A kind is one file in this package. It has

- ``EXAMPLE``: an address, for people;
- ``sink(address, context) -> Sink``: checks the address, connects to nothing yet.

The file imports what it needs beyond numpy and OpenCV inside ``sink``, and says what to install. Every sink has a
thread of its own with a bounded queue (`edgecnn.runtime.loop.outlets`): it may be slow, block, raise or be dead, and
the loop goes on; what could not be delivered is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

from edgecnn import plugins
from edgecnn.errors import SinkError, unknown_name
from edgecnn.manifest import Manifest
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.loop.run import Run
from edgecnn.runtime.loop.statistics import Snapshot

PACKAGE = "edgecnn.runtime.sinks"
PATIENCE_SECONDS = 20.0
"""Longest that a sink waits for room or an answer where the source waits for its sinks; then it loses something."""


@dataclass(frozen=True)
class SinkContext:
    """What a sink may want to know of the loop that feeds it.

    Attributes:
        manifest: The contract of the bundle that runs.
        engine: Name of the engine that runs it.
        source: Address of the source, without secrets.
        snapshot: Returns the loop's figures as they are now; may be called from any thread.
        rules: What decides beside the bundle.
        run: Which run this is, of which bundle, and where: what `as_record` wants to know.
        waits: Whether the source waits until the sinks have taken what it gave, so that nothing need be lost: a file.
    """

    manifest: Manifest
    engine: str
    source: str
    snapshot: Callable[[], Snapshot]
    rules: Rules = field(default_factory=Rules)
    waits: bool = False
    run: Run = field(kw_only=True)

    @property
    def labels(self) -> dict[str, str]:
        """What tells this loop from others: the labels of the metric ``edgecnn_info``."""
        named = {"bundle": self.manifest.name, "bundle_sha256": self.run.bundle_sha256}
        return named | {"engine": self.engine, "source": self.source, "station": self.run.station}

    @property
    def parts(self) -> bool:
        """Whether there are verdicts about parts: then a part is what is rejected, else a change of the state."""
        return self.rules.parts.mode != "none"


class Sink(Protocol):
    """A place that verdicts go to. All of it is called from the sink's own thread, never from the loop.

    Attributes:
        every_turn: Whether it is given every turn; otherwise only those with ``Observation.is_event``.
        images: Whether it needs ``image`` and ``tensor``; otherwise it is given None for both, so
            that frames do not wait in its queue.
    """

    every_turn: bool
    images: bool

    def send(self, observation: Observation) -> None:
        """Deliver one observation.

        Raises:
            SinkError: If it could not be delivered; it is counted as lost, and the next one is tried. ``lost`` is how
                many of those taken before are lost as well.
        """
        ...

    def idle(self) -> None:
        """Do what is due without an observation (reconnect, flush); called about four times a second.

        Raises:
            SinkError: If that fails.
        """
        ...

    def close(self) -> None:
        """Deliver what is left, say goodbye, give everything back. A second call does nothing.

        Within two seconds, or six for what a disk is still to write: the loop waits eight.

        Raises:
            SinkError: If something was lost after all; everything was given back nevertheless.
        """
        ...


@runtime_checkable
class ConfirmingSink(Sink, Protocol):
    """A sink whose `send` only begins: it says later, from any thread, what has arrived.

    What it has taken counts as waiting until then. A sink without these two attributes has delivered when `send`
    returns.

    Attributes:
        confirm: Set by the loop before anything is sent; the sink calls it for each observation that has arrived for
            good (confirmed by the broker, written to the disk), with the seconds since its frame was read.
    """

    confirm: Callable[[float], None]

    @property
    def trouble(self) -> str:
        """Why nothing arrives at present, empty while all is well. It is shown until the sink takes it back."""
        ...


def unheard(seconds: float) -> None:
    """Stand in for `ConfirmingSink.confirm` where no loop listens."""


class SinkModule(Protocol):
    """What a file in this package provides."""

    EXAMPLE: str

    def sink(self, address: Address, context: SinkContext) -> Sink:
        """Return a sink.

        Raises:
            OptionError: If the address or one of its options is not what this kind takes.
            SinkError: If a package that it needs is not installed, or what it needs on this machine is not there.
        """
        ...


def kinds() -> list[str]:
    """Return the names of all kinds of sinks, in alphabetical order."""
    return sorted(plugins.discover(PACKAGE))


def module_for(address: Address) -> SinkModule:
    """Return the file for an address.

    Raises:
        OptionError: If there is none; near names are suggested.
    """
    found = kinds()
    # mqtts is mqtt behind TLS.
    name = address.scheme if address.scheme in found else address.scheme.removesuffix("s")
    if name not in found:
        raise unknown_name("sink", f"{address.scheme or address}:", [f"{kind}:" for kind in found])
    return cast(SinkModule, plugins.load(PACKAGE, name))


def examples() -> list[str]:
    """Return an address of every kind."""
    return [cast(SinkModule, plugins.load(PACKAGE, kind)).EXAMPLE for kind in kinds()]


def open_sink(text: str, context: SinkContext) -> Sink:
    """Return the sink for an address.

    Raises:
        OptionError: If the address is not understood.
        SinkError: If something that it needs is missing.
    """
    address = Address.parse(text)
    return module_for(address).sink(address, context)


def missing(kind: str, requirement: str, error: Exception) -> SinkError:
    """Build the error for a sink whose package cannot be imported.

    Args:
        kind: The sink's kind.
        requirement: What to give to ``pip install``.
        error: What importing raised.
    """
    return SinkError(f"the sink '{kind}' needs a package ({error}). Install it: pip install '{requirement}'")
