"""Video files, every frame once: ``clip.mp4``, ``video:clip.mp4?loop=1``, ``video:clip.mp4?pace=1`` in real time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import READ_SECONDS, Frame, NoFrame
from edgecnn.runtime.sources._interlaced import REQUIREMENT, InterlacedVideo, is_interlaced
from edgecnn.runtime.sources._options import flag_option

LIVE = False
EXAMPLE = "video:clip.mp4"
_SLACK_SECONDS, _SLACK_FRAMES = 0.25, 3
"""How far a file that is whole may end before its container says: rates and durations there are rounded."""


Image = npt.NDArray[np.uint8]


class Decoder(Protocol):
    """What opens a file and gives its pictures, turned as its metadata says.

    Attributes:
        rate: Frames per second that the file states, 0 without.
        expected: Frames that the file states, 0 without.
    """

    rate: float
    expected: float

    def read(self) -> tuple[Image, float] | None:
        """Return the next picture, uint8 (H, W, 3) BGR, and its time in seconds; None at the end or at damage."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def source(address: Address) -> Video:
    """Return a file. Options: ``loop=1`` starts over at its end, ``pace=1`` gives frames no faster than they were."""
    options = address.options()
    loop, pace = flag_option(options, "loop"), flag_option(options, "pace")
    options.done()
    if not address.path:
        raise OptionError(f"{address}: expected a file, for example {EXAMPLE}.")
    return Video(Path(address.path), loop, pace)


class Video:
    """A video file. Timestamps are the file's own and never go back; when it loops they go on.

    Interlaced files are deinterlaced, with PyAV. A file that ends before its container says gives one `NoFrame` with
    the reason, and then its end.

    Args:
        path: The file.
        loop: Whether to start over at the end.
        pace: Whether `read` waits until a frame is due.
    """

    def __init__(self, path: Path, loop: bool = False, pace: bool = False) -> None:
        self._path, self._loop, self._pace = path, loop, pace
        self._decoder: Decoder | None = None
        self._told = False
        self._begin()

    def open(self) -> None:
        """Open the file; see `Source`."""
        self.close()
        if not self._path.is_file():
            raise SourceError(f"{self._path}: no such file.")
        interlaced = is_interlaced(self._path)
        self._decoder = InterlacedVideo(self._path) if interlaced else _Plain(self._path)
        self._begin()
        self._is_doubtful = interlaced is None and _stands_still(self._path)

    def read(self) -> Frame | NoFrame | None:
        """Return the next frame, None at the end; see `Source`."""
        if self._decoder is None:
            raise SourceError(f"{self._path}: not open.")
        # Behind a damaged place FFmpeg may find more, but nobody knows how much is missing: the file ends there.
        found = None if self._told else self._decoder.read()
        if found is None:
            return self._ended(self._decoder)
        image, stored = found
        self._count += 1
        self._timestamp = self._next_timestamp(self._start + stored, self._decoder.rate)
        if self._pace:
            self._wait()
        if self._is_doubtful and (reason := self._doubt(image)):
            return NoFrame(reason)
        return Frame(image, f"{self._path.name}#{self._count}", self._timestamp)

    def close(self) -> None:
        """Close the file."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = None

    def _begin(self) -> None:
        """Forget what was read."""
        self._count = 0
        self._start = 0.0
        self._timestamp = -1.0
        self._started: float | None = None
        self._told = False
        self._previous: Image | None = None

    def _next_timestamp(self, stored: float, rate: float) -> float:
        """Return the time of the frame just read, in seconds, larger than all before."""
        return stored if stored > self._timestamp else self._timestamp + 1.0 / _possible(rate)

    def _doubt(self, image: Image) -> str:
        """Say why this may be no picture of the file, empty if it is one; asked where nobody could look closer."""
        if self._previous is not None and not np.array_equal(image, self._previous):
            self._is_doubtful = False
            return ""
        self._previous = image
        return (
            f"{self._path}: the same to the last bit from its beginning, as interlaced video looks without PyAV. "
            f"Install it (pip install '{REQUIREMENT}'), or deinterlace the file: ffmpeg -i ... -vf bwdif OUT.mp4"
        )

    def _wait(self) -> None:
        """Sleep until the frame is due; a reader that is late is not made to wait."""
        now = time.monotonic()
        self._started = now - self._timestamp if self._started is None else self._started
        due = self._started + self._timestamp
        if due - now < -1.0:  # a long halt is not made good by racing
            self._started = now - self._timestamp
        time.sleep(min(max(0.0, due - now), READ_SECONDS))

    def _ended(self, decoder: Decoder) -> NoFrame | None:
        """Tell the end of the file from its damage."""
        if not self._told and (reason := self._damage(decoder)):
            self._told = True
            return NoFrame(reason, f"{self._path.name}#{self._count + 1}")
        if not self._loop or self._count == 0:
            return None
        timestamp, started = self._timestamp + 1.0 / _possible(decoder.rate), self._started
        self.open()
        self._start, self._started = timestamp, started
        return NoFrame()

    def _damage(self, decoder: Decoder) -> str:
        """Say that frames are missing; empty if the file gave what its container says.

        Frames and seconds must both be missing: containers without a number of frames have it guessed from the rate.
        """
        expected, rate = decoder.expected, _possible(decoder.rate)
        missing = expected / rate - (self._timestamp - self._start + 1.0 / rate)
        if self._count + _SLACK_FRAMES >= expected or missing <= max(_SLACK_SECONDS, _SLACK_FRAMES / rate):
            return ""
        return (
            f"{self._path}: ends after {self._count} of {expected:.0f} frames: the file is cut off or damaged. "
            "Copy or record it again."
        )


class _Plain:
    """A file by OpenCV; see `Decoder`.

    Raises:
        SourceError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        # An absolute path cannot be taken for one of FFmpeg's protocols.
        self._capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self.close()
            raise SourceError(f"{path}: no video that FFmpeg can read: damaged, cut off, or something else.")
        # Whether OpenCV turns pictures by itself has changed from version to version.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.expected = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)

    def read(self) -> tuple[Image, float] | None:
        """Return the next picture and its time in seconds."""
        read, image = self._capture.read()
        if not read or image is None:
            return None
        return image.astype(np.uint8, copy=False), self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def _stands_still(path: Path) -> bool:
    """Tell whether a file's first two pictures are the same: OpenCV leaves alone what it cannot convert."""
    decoder = _Plain(path)
    first, second = decoder.read(), decoder.read()
    decoder.close()
    return first is not None and second is not None and np.array_equal(first[0], second[0])


def _possible(rate: float) -> float:
    """Return the frames per second that a file states, 25 where it states none that can be."""
    return rate if 0.1 <= rate <= 1000.0 else 25.0
