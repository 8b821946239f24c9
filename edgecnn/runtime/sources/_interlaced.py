"""Interlaced video: two fields, taken at different times, woven into one picture. Read and put right by PyAV.

OpenCV's FFmpeg cannot convert such pictures: it says that all is well and returns a black picture, or an old one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import SourceError

Image = npt.NDArray[np.uint8]

REQUIREMENT = "edgecnn[rtsp]"
_PROBED_FRAMES = 5
_FILTER = ("bwdif", "mode=send_frame:deint=interlaced")
"""One picture for every picture. Those that are not interlaced go through as they are."""


class Deinterlacer:
    """Puts interlaced pictures right, one frame later than they came: it needs the next one for that."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._shape: tuple[object, ...] = ()

    def push(self, frame: Any) -> list[Any]:
        """Take one of PyAV's frames, None at the end; return those that are ready.

        Until the first interlaced one, frames are returned at once and as they are.
        """
        if self._graph is None and (frame is None or not frame.interlaced_frame):
            return [] if frame is None else [frame]
        if frame is not None and self._shape != (shape := (frame.width, frame.height, frame.format.name)):
            # What the filter still holds is of another size, and one frame.
            self._graph, self._shape = _graph(frame), shape
        self._graph.push(frame)
        return list(_pulled(self._graph))


class InterlacedVideo:
    """A video file, deinterlaced and turned as its metadata says; see `edgecnn.runtime.sources.video.Decoder`.

    Raises:
        SourceError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        av: Any = importlib.import_module("av")
        self._error = av.error.FFmpegError
        try:
            self._container = av.open(str(path))
        except av.error.FFmpegError as error:
            raise SourceError(f"{path}: no video that FFmpeg can read: {error.strerror}.") from error
        stream = self._container.streams.video[0]
        self.rate = float(stream.average_rate or 0)
        self.expected = float(stream.frames or (self._container.duration or 0) / 1e6 * self.rate)
        self._begin = float((stream.start_time or 0) * stream.time_base)
        self._frames = self._decoded(stream)

    def read(self) -> tuple[Image, float] | None:
        """Return the next picture, uint8 (H, W, 3) BGR, and its time in seconds; None at the end or at damage."""
        try:
            frame = next(self._frames, None)
        except self._error:
            return None
        if frame is None:
            return None
        image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
        # Both count counterclockwise.
        return np.ascontiguousarray(np.rot90(image, self._quarters)), float(frame.time or 0.0) - self._begin

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._container.close()

    def _decoded(self, stream: Any) -> Iterator[Any]:
        filtered = Deinterlacer()
        for frame in self._container.decode(stream):
            self._quarters = frame.rotation // 90
            yield from filtered.push(frame)
        yield from filtered.push(None)


def is_interlaced(path: Path) -> bool | None:
    """Tell whether a file's first pictures are interlaced; None where PyAV is not installed or cannot read it."""
    try:
        av: Any = importlib.import_module("av")
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            frames = container.decode(video=0)
            return any(frame.interlaced_frame for _, frame in zip(range(_PROBED_FRAMES), frames, strict=False))
    except (av.error.FFmpegError, IndexError):
        return None


def _graph(frame: Any) -> Any:
    graph: Any = importlib.import_module("av.filter").Graph()
    buffer = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    chain = [buffer, graph.add(*_FILTER), graph.add("buffersink")]
    graph.link_nodes(*chain).configure()
    return graph


def _pulled(graph: Any) -> Iterator[Any]:
    error: Any = importlib.import_module("av.error")
    while True:
        try:
            yield graph.pull()
        except (error.BlockingIOError, error.EOFError):
            return
