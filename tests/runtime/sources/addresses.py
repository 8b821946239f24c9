"""Sources by their address, as the loop makes them."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import Frame, NoFrame, Source, module_for
from tests.waiting import PATIENCE


def made(text: str) -> Source:
    """Return the source for an address, not open."""
    address = Address.parse(text)
    return module_for(address).source(address)


def opened(text: str) -> Source:
    """Return the source for an address, open."""
    source = made(text)
    source.open()
    return source


def next_frame(source: Source) -> Frame:
    """Read one frame that must be there."""
    frame = source.read()
    assert isinstance(frame, Frame)
    return frame


def read_until(source: Source, wanted: Callable[[Frame], bool]) -> Frame:
    """Read until a frame is as wanted."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        frame = source.read()
        if isinstance(frame, Frame) and wanted(frame):
            return frame
    raise AssertionError("no such frame came in time")


def rest(source: Source) -> list[Frame | NoFrame]:
    """Read to the end."""
    return list(iter(source.read, None))


def read_on(source: Source) -> None:
    """Read until the source raises; ends without an error if it ends."""
    while source.read() is not None:
        pass
