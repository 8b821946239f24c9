"""``video:PATH``: what was seen and decided, as a video to look at.

``.mp4`` (MPEG-4) plays in players; ``.webm`` (VP8) in browsers too, for ten times the work; ``.avi`` (MJPEG) keeps
pictures sharp. It plays in real time: what comes faster is left out, pauses of up to a second are kept. Frames of
another size are brought to that of the first. The file appears under its name when it is complete.

Options: ``width`` (640) of the pictures at most, ``fps`` (15), ``max_mb`` (200) after which it ends.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.painter import Painter
from edgecnn.runtime.sinks import SinkContext

Image = npt.NDArray[np.uint8]

EXAMPLE = "video:watched.mp4?width=640"
CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}
LONGEST_PAUSE = 1.0
"""Seconds of a pause that the video keeps."""
ROUNDING = 1e-6
"""Pictures that time stamps may be off by: 0.1 s is not quite 0.1 s."""
_MEGABYTE = 1 << 20


class VideoSink:
    """Writes a video; see the module."""

    every_turn = True
    images = True

    def __init__(self, path: Path, painter: Painter, fps: float, largest: int) -> None:
        self._path, self._painter, self._fps, self._largest = path, painter, fps, largest
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._begun = 0.0
        self._written = 0
        self._done = False

    def send(self, observation: Observation) -> None:
        """Draw and write one turn if it is due; those without a frame are left out.

        Raises:
            SinkError: If the video cannot be written.
        """
        if observation.image is None or self._done or not (count := self._due(observation.timestamp)):
            return
        picture = self._painter(observation)
        if self._writer is None:
            self._writer = self._opened(picture)
        fitted = cv2.resize(picture, self._size)
        for _ in range(count):
            self._writer.write(fitted)
        self._written += count
        if self._partial.stat().st_size > self._largest:
            self.close()

    def _due(self, timestamp: float) -> int:
        """Return how many pictures are due now: 0 if this one comes too soon, several behind a pause."""
        if not self._written:
            self._begun = timestamp
            return 1
        due = int((timestamp - self._begun) * self._fps + ROUNDING) + 1 - self._written
        longest = max(1, int(self._fps * LONGEST_PAUSE))
        if not 0 <= due <= longest:
            # A long pause, or a clock that was set back: go on from here.
            due = min(max(due, 1), longest)
            self._begun = timestamp - (self._written + due - 1) / self._fps
        return due

    def idle(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Complete the video and give it its name.

        Raises:
            SinkError: If it is not whole, for want of room; then nothing is left of it.
        """
        if self._writer is None or self._done:
            return
        self._done = True
        self._writer.release()
        try:
            # OpenCV does not say that the disk was full.
            if not _is_whole(self._partial, self._written):
                self._partial.unlink(missing_ok=True)
                raise SinkError(f"{self._path}: the video is lost: it could not be written. Is the disk full?")
            self._partial.replace(self._path)
        except OSError as error:
            raise SinkError(f"{self._path}: the video is lost: {error.strerror}.") from error

    def _opened(self, picture: Image) -> cv2.VideoWriter:
        # Even sizes: video codecs halve the resolution of colour.
        self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
        code = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix])
        writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, code, self._fps, self._size)
        if not writer.isOpened():
            raise SinkError(f"{self._path}: this build of OpenCV cannot write it. Try another of {', '.join(CODECS)}.")
        return writer


def _is_whole(path: Path, pictures: int) -> bool:
    """Tell whether the end of a video of so many pictures can be read."""
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, pictures - 1)
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()


def sink(address: Address, context: SinkContext) -> VideoSink:
    """Return a sink for ``video:PATH``.

    Raises:
        OptionError: If the path's ending is none of those that can be written.
        SinkError: If its folder cannot be made.
    """
    options = address.options()
    width, fps = options.integer("width", 640, 64, 7680), options.number("fps", 15, 1, 240)
    largest = options.integer("max_mb", 200, 1, 100_000) * _MEGABYTE
    options.done()
    path = Path(address.path)
    if path.suffix not in CODECS:
        raise OptionError(f"{address}: a video ends in one of {', '.join(CODECS)}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{path.parent}: the folder cannot be made: {error.strerror}.") from error
    return VideoSink(path, Painter(context.manifest, width), fps, largest)
