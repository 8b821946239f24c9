"""Video files, every frame once: ``clip.mp4``, ``video:clip.mp4?loop=1``, ``video:clip.mp4?pace=1`` in real time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import READ_SECONDS, Frame, NoFrame
from edgecnn.runtime.sources._options import flag_option

LIVE = False
EXAMPLE = "video:clip.mp4"
_SLACK_SECONDS, _SLACK_FRAMES = 0.25, 3
"""How far a file that is whole may end before its container says: rates and durations there are rounded."""


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

    A file that ends before its container says gives one `NoFrame` with the reason, and then its end.

    Args:
        path: The file.
        loop: Whether to start over at the end.
        pace: Whether `read` waits until a frame is due.
    """

    def __init__(self, path: Path, loop: bool = False, pace: bool = False) -> None:
        self._path, self._loop, self._pace = path, loop, pace
        self._capture: cv2.VideoCapture | None = None
        self._told = False
        self._begin()

    def open(self) -> None:
        """Open the file; see `Source`."""
        self.close()
        if not self._path.is_file():
            raise SourceError(f"{self._path}: no such file.")
        # An absolute path cannot be taken for one of FFmpeg's protocols.
        self._capture = cv2.VideoCapture(os.path.abspath(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self.close()
            raise SourceError(f"{self._path}: no video that FFmpeg can read: damaged, cut off, or something else.")
        self._begin()

    def read(self) -> Frame | NoFrame | None:
        """Return the next frame, None at the end; see `Source`."""
        if self._capture is None:
            raise SourceError(f"{self._path}: not open.")
        # Behind a damaged place FFmpeg may find more, but nobody knows how much is missing: the file ends there.
        read, image = (False, None) if self._told else self._capture.read()
        if not read or image is None:
            return self._ended(self._capture)
        self._count += 1
        self._timestamp = self._next_timestamp(self._capture)
        if self._pace:
            self._wait()
        return Frame(image.astype(np.uint8, copy=False), f"{self._path.name}#{self._count}", self._timestamp)

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _begin(self) -> None:
        """Forget what was read."""
        self._count = 0
        self._start = 0.0
        self._timestamp = -1.0
        self._started: float | None = None
        self._told = False

    def _next_timestamp(self, capture: cv2.VideoCapture) -> float:
        """Return the time of the frame just read, in seconds, larger than all before."""
        stored = self._start + capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        if stored > self._timestamp:
            return stored
        return self._timestamp + 1.0 / _rate(capture)

    def _wait(self) -> None:
        """Sleep until the frame is due; a reader that is late is not made to wait."""
        now = time.monotonic()
        self._started = now - self._timestamp if self._started is None else self._started
        due = self._started + self._timestamp
        if due - now < -1.0:  # a long halt is not made good by racing
            self._started = now - self._timestamp
        time.sleep(min(max(0.0, due - now), READ_SECONDS))

    def _ended(self, capture: cv2.VideoCapture) -> NoFrame | None:
        """Tell the end of the file from its damage."""
        if not self._told and (reason := self._damage(capture)):
            self._told = True
            return NoFrame(reason, f"{self._path.name}#{self._count + 1}")
        if not self._loop or self._count == 0:
            return None
        timestamp, started = self._timestamp + 1.0 / _rate(capture), self._started
        self.open()
        self._start, self._started = timestamp, started
        return NoFrame()

    def _damage(self, capture: cv2.VideoCapture) -> str:
        """Say that frames are missing; empty if the file gave what its container says.

        Frames and seconds must both be missing: containers without a number of frames have it guessed from the rate.
        """
        expected, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), _rate(capture)
        missing = expected / rate - (self._timestamp - self._start + 1.0 / rate)
        if self._count + _SLACK_FRAMES >= expected or missing <= max(_SLACK_SECONDS, _SLACK_FRAMES / rate):
            return ""
        return (
            f"{self._path}: ends after {self._count} of {expected:.0f} frames: the file is cut off or damaged. "
            "Copy or record it again."
        )


def _rate(capture: cv2.VideoCapture) -> float:
    """Return the frames per second that the file states, 25 where it states none that can be."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0.1 <= rate <= 1000.0 else 25.0
