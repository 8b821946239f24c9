"""Frames from a pipe: ``-`` (standard input), a named pipe, ``pipe:-?raw=640x360``.

Without options a stream of JPEGs (``ffmpeg -i ... -f image2pipe -c:v mjpeg -``); with ``raw`` pixels, blue first
(``-f rawvideo -pix_fmt bgr24``).
"""

from __future__ import annotations

import os
import select
import stat
import time

import numpy as np

from edgecnn.errors import DataError, OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import Frame, NoFrame
from edgecnn.runtime.sources._options import size_option
from edgecnn.runtime.sources._pictures import PictureSplitter
from edgecnn.vision.read import decode_image

LIVE = False
EXAMPLE = "pipe:-"
WAIT_SECONDS = 1.0
"""How long one `read` waits for a frame before it says that there is none."""
_CHUNK = 1 << 18
STANDARD_INPUT = 0


def source(address: Address) -> Pipe:
    """Return a pipe. Option: ``raw`` (WxH) for pixels instead of JPEGs."""
    options = address.options()
    size = size_option(options, "raw")
    options.done()
    if not address.path:
        raise OptionError(f"{address}: expected '-' or a named pipe, for example {EXAMPLE}.")
    return Pipe(address.path, size)


class Pipe:
    """A stream of frames from another process. That process waits while nobody reads.

    Whoever writes may be silent for any time: then `read` gives a `NoFrame` without a reason. When the last writer
    closes the pipe, the source is at its end.

    Args:
        path: ``"-"``, or the path of a named pipe (or of a file with such a stream).
        size: (width, height) of raw frames, None for JPEGs.
    """

    def __init__(self, path: str, size: tuple[int, int] | None = None) -> None:
        self._path, self._size = path, size
        self._is_standard = path == "-"
        self._name = "standard input" if self._is_standard else path
        self._descriptor: int | None = None
        self._ended = False
        self._reset()

    def open(self) -> None:
        """Open the pipe; nobody need write to it yet; see `Source`."""
        self.close()
        if self._is_standard:
            # What was read of a frame stays: the stream goes on in its middle.
            self._descriptor = STANDARD_INPUT
            return
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                f"{self._path}: cannot be opened: {error.strerror}. Make one: mkfifo {self._path}"
            ) from error
        if stat.S_ISDIR(os.fstat(self._descriptor).st_mode):
            self.close()
            raise SourceError(f"{self._path}: a folder, expected a named pipe.")
        self._reset()

    def read(self) -> Frame | NoFrame | None:
        """Return the next frame, None when the last writer has gone; see `Source`."""
        if self._descriptor is None:
            raise SourceError(f"{self._name}: not open.")
        deadline = time.monotonic() + WAIT_SECONDS
        while (frame := self._take()) is None:
            if self._ended:
                return None
            if not select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return NoFrame()
            data = os.read(self._descriptor, _CHUNK)
            if not data:
                self._ended = True
                return self._cut_off()
            self._feed(data)
        return frame

    def close(self) -> None:
        """Close the pipe; standard input stays open."""
        if self._descriptor is not None and not self._is_standard:
            os.close(self._descriptor)
        self._descriptor = None

    def _reset(self) -> None:
        self._splitter = PictureSplitter(self._name)
        self._raw = bytearray()
        self._ended = False

    def _feed(self, data: bytes) -> None:
        if self._size is None:
            self._splitter.feed(data)
        else:
            self._raw += data

    def _take(self) -> Frame | NoFrame | None:
        """Return a frame of what was read already, None if there is none."""
        if self._size is not None:
            return self._take_raw(*self._size)
        picture = self._splitter.take()
        if picture is None:
            return None
        try:
            return Frame(decode_image(picture, self._name))
        except DataError as error:
            return NoFrame(str(error))

    def _take_raw(self, width: int, height: int) -> Frame | None:
        count = width * height * 3
        if len(self._raw) < count:
            return None
        pixels = np.frombuffer(self._raw[:count], np.uint8).reshape(height, width, 3)
        del self._raw[:count]
        return Frame(pixels)

    def _cut_off(self) -> NoFrame | None:
        """Say that the stream ended in the middle of a frame, or None if it did not."""
        rest = len(self._raw) or self._splitter.rest
        return NoFrame(f"{self._name}: ended {rest} bytes into a frame.") if rest else None
