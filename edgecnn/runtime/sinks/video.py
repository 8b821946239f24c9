"""``video:PATH``: what was seen and decided, as videos to look at.

``.mp4`` (MPEG-4) plays in players; ``.webm`` (VP8) in browsers too, for ten times the work; ``.avi`` (MJPEG) keeps
pictures sharp. Of a camera it plays in real time: what comes faster is left out, pauses of up to a second are kept.
Of a source that waits (a file, a folder) it holds every frame, at the rate of the file's own clock. Frames of another
size are brought to that of the first.

A video appears under its name when it is complete: at the end, or at ``max_mb``, when the next one begins. Older ones
stay, as ``seen.1.mp4``, ``seen.2.mp4`` and so on, the oldest last; at most ``keep`` of them exist. What is in a video
that is not complete yet counts as waiting.

Options: ``width`` (640) of the pictures at most, ``fps`` (15), ``max_mb`` (200), ``keep`` (5).
"""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.painter import Painter
from edgecnn.runtime.sinks import SinkContext, unheard
from edgecnn.runtime.sinks._video_file import CODECS, RESERVE, VideoFile, free_bytes, no_room

Image = npt.NDArray[np.uint8]

EXAMPLE = "video:watched.mp4?width=640"
LONGEST_PAUSE = 1.0
"""Seconds of a pause that the video keeps."""
ROUNDING = 1e-6
"""Pictures that time stamps may be off by: 0.1 s is not quite 0.1 s."""
FPS, SLOWEST, FASTEST = 15.0, 1.0, 240.0
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Pace:
    """Which frames are shown, and how fast.

    Attributes:
        every_frame: Whether every frame is one picture; otherwise the video plays in real time.
        fps: Pictures a second; None for the source's own rate where it has one, else `FPS`.
    """

    every_frame: bool = False
    fps: float | None = None


class VideoSink:
    """Writes videos; see the module.

    Args:
        path: Where; its place is claimed and tried out at once.
        painter: Draws what is seen.
        pace: Which frames, and how fast.
        largest: Bytes after which a video is complete.
        keep: Videos that may exist.

    Attributes:
        trouble: Why the last video is lost; empty when one is complete.

    Raises:
        SinkError: If it cannot be written there.
    """

    every_turn = True
    images = True

    def __init__(self, path: Path, painter: Painter, pace: Pace, largest: int, keep: int) -> None:
        self._path, self._painter, self._pace, self._largest, self._keep = path, painter, pace, largest, keep
        self._file: VideoFile | None = VideoFile(path)
        self._first: tuple[Image, float] | None = None
        self._fps = pace.fps or FPS
        self._begun = 0.0
        self._turns = array("d")
        self.trouble, self.confirm = "", unheard

    def send(self, observation: Observation) -> None:
        """Draw and write one turn if it is due; those without a frame are left out.

        Raises:
            SinkError: If the video cannot be written.
        """
        if self._file is not None and self._file.size > self._largest:
            self._complete()
        if observation.image is not None and (count := self._due(observation.timestamp)):
            self._add(observation, count)
        self._turns.append(observation.captured)

    def idle(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Complete the video and give it its name.

        Raises:
            SinkError: If it is not whole, for want of room; then nothing is left of it, and all in it is lost.
        """
        self._complete()

    def _add(self, observation: Observation, count: int) -> None:
        if free_bytes(self._path.parent) < RESERVE:
            self._complete()
            raise no_room(self._path)
        if self._file is None:
            self._file = VideoFile(self._path)
        try:
            self._write(self._file, observation, count)
        except SinkError:
            self._complete()
            raise

    def _write(self, file: VideoFile, observation: Observation, count: int) -> None:
        picture = self._painter(observation)
        if self._pace.every_frame and self._pace.fps is None and not file.pictures:
            self._write_by_rate(file, picture, observation)
            return
        for _ in range(count):
            file.write(picture, self._fps)

    def _write_by_rate(self, file: VideoFile, picture: Image, observation: Observation) -> None:
        """Keep the first picture until the second tells how fast they follow each other."""
        own = observation.timestamp != observation.captured
        if self._first is None:
            self._first = picture, observation.timestamp
            return
        step = observation.timestamp - self._first[1]
        self._fps = min(max(1.0 / step, SLOWEST), FASTEST) if own and step > 0 else FPS
        self._write_first(file)
        file.write(picture, self._fps)

    def _write_first(self, file: VideoFile) -> None:
        first, self._first = self._first, None
        if first is not None:
            file.write(first[0], self._fps)

    def _due(self, timestamp: float) -> int:
        """Return how many pictures are due now: 0 if this one comes too soon, several behind a pause."""
        written = 0 if self._file is None else self._file.pictures
        if self._pace.every_frame:
            return 1
        if not written:
            self._begun = timestamp
            return 1
        due = int((timestamp - self._begun) * self._fps + ROUNDING) + 1 - written
        longest = max(1, int(self._fps * LONGEST_PAUSE))
        if not 0 <= due <= longest:
            # A long pause, or a clock that was set back: go on from here.
            due = min(max(due, 1), longest)
            self._begun = timestamp - (written + due - 1) / self._fps
        return due

    def _complete(self) -> None:
        """End the video that is being written, and count what it holds.

        Raises:
            SinkError: If it is not whole; with the number of turns that were in it.
        """
        file, self._file, turns, self._turns = self._file, None, self._turns, array("d")
        try:
            if file is not None:
                self._finish(file)
        except SinkError as error:
            self.trouble = str(error)
            raise SinkError(str(error), len(turns)) from error
        for captured in turns:
            self.confirm(time.monotonic() - captured)

    def _finish(self, file: VideoFile) -> None:
        try:
            self._write_first(file)
            if file.pictures:
                file.finish(self._keep)
                self.trouble = ""
        finally:
            file.drop()


def sink(address: Address, context: SinkContext) -> VideoSink:
    """Return a sink for ``video:PATH``.

    Raises:
        OptionError: If the path's ending is none of those that can be written.
        SinkError: If it cannot be written there.
    """
    options = address.options()
    width = options.integer("width", 640, 64, 7680)
    fps = options.number("fps", FPS, SLOWEST, FASTEST) if options.text("fps") else None
    largest = options.integer("max_mb", 200, 1, 100_000) * _MEGABYTE
    keep = options.integer("keep", 5, 1, 1000)
    options.done()
    path = Path(address.path)
    if path.suffix not in CODECS:
        raise OptionError(f"{address}: a video ends in one of {', '.join(CODECS)}.")
    return VideoSink(path, Painter(context.manifest, width), Pace(context.waits, fps), largest, keep)
