"""Where frames come from, one file a kind, found by the scheme of its address.

A kind is one file in this package. It has

- ``LIVE``: whether frames come by themselves and the newest is the one that counts (a camera), or whether every frame
  waits until it is read (a file);
- ``STILLS``: True where the frames are single pictures that have nothing to do with each other; may be left out;
- ``EXAMPLE``: an address, for people;
- ``source(address) -> Source``: checks the address, opens nothing.

The file imports what it needs beyond numpy and OpenCV inside ``Source.open``, and says what to install. Files that
start with an underscore are no kinds; several kinds use them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from edgecnn import plugins
from edgecnn.errors import OptionError, unknown_name
from edgecnn.runtime.address import Address, redacted

Image = npt.NDArray[np.uint8]
PACKAGE = "edgecnn.runtime.sources"

OPEN_SECONDS = 2.0
"""Longest that opening may take: with the longest pause between two tries, a source is back within 5 seconds."""
READ_SECONDS = 3.0
"""Longest that reading one frame may take; then the source counts as lost."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as a source gave it.

    Attributes:
        image: uint8, (H, W, 3) BGR or (H, W) grey. The receiver's own: the source never writes to it again.
        name: What to call it in records: a file's name, ``""`` where frames have none.
        timestamp: Seconds on the source's own clock (a video's), None where it has none.
        truth: What a synthetic source knows that it drew (``"good"``, ``"scratch"``, ``"black"``), None elsewhere.
    """

    image: Image
    name: str = ""
    timestamp: float | None = None
    truth: str | None = None


@dataclass(frozen=True, slots=True)
class NoFrame:
    """Instead of a frame: none this time, and the source is neither lost nor at its end. Read again at once.

    Attributes:
        reason: What is wrong with the frame that came, in one sentence: a picture that cannot be decoded. It counts as
            a moment without a picture that can be trusted. Empty where nothing is wrong and none has come yet: a
            watched folder without a new file. That is no fault, however long it lasts.
        name: What to call the frame that came, as of `Frame`.
    """

    reason: str = ""
    name: str = ""


class Source(Protocol):
    """A source of frames. `open` may be called again after `close`. Used by one thread at a time.

    It may also have an attribute ``lasting``: true where frames wait to be read, and yet the source comes back after it
    was lost; and a method ``judged(count)``, called by another thread when so many of what `read` gave, frames and
    `NoFrame` with a reason, have been judged.
    """

    def open(self) -> None:
        """Connect, within `OPEN_SECONDS`.

        Raises:
            SourceError: If there is nothing to connect to; the message says what was tried and what to do, and holds
                no secret.
        """
        ...

    def read(self) -> Frame | NoFrame | None:
        """Return the next frame, within `READ_SECONDS`; None at the end of a source that has one.

        `NoFrame` says that the next call goes on where this one ended: one picture is damaged, or none is there yet.

        Raises:
            SourceError: If the source was lost or is silent; nothing more comes before it is closed and opened again.
        """
        ...

    def close(self) -> None:
        """Give everything back. A second call does nothing; raises nothing."""
        ...


class SourceModule(Protocol):
    """What a file in this package provides."""

    LIVE: bool
    EXAMPLE: str

    def source(self, address: Address) -> Source:
        """Return a source that is not open yet.

        Raises:
            OptionError: If the address is not what this kind takes.
        """
        ...


def kinds() -> list[str]:
    """Return the names of all kinds of sources, in alphabetical order."""
    return sorted(plugins.discover(PACKAGE))


def module_for(address: Address) -> SourceModule:
    """Return the file for an address.

    Raises:
        OptionError: If there is none; near names are suggested.
    """
    name = address.scheme or _kind_of_path(address.path)
    found = {kind.replace("_", "-"): kind for kind in kinds()}
    # rtsps and https are rtsp and http behind TLS.
    name = name if name in found else name.removesuffix("s")
    if name not in found:
        raise unknown_name("source", f"{address.scheme}:", [f"{kind}:" for kind in found])
    return cast(SourceModule, plugins.load(PACKAGE, found[name]))


def _kind_of_path(path: str) -> str:
    """Tell what is meant by a text without a scheme: a camera's number or device, stdin, a folder or a file."""
    if path.isdecimal() or path.startswith("/dev/"):
        return "camera"
    if path == "-":
        return "pipe"
    place = Path(path)
    if place.is_dir():
        return "folder"
    if place.is_fifo():
        return "pipe"
    if place.is_file():
        return "video"
    raise OptionError(
        f"{redacted(path)}: no such file, folder or camera. Sources are, for example: {', '.join(examples())}."
    )


def examples() -> list[str]:
    """Return an address of every kind."""
    return [cast(SourceModule, plugins.load(PACKAGE, kind)).EXAMPLE for kind in kinds()]
