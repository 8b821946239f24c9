"""One video file, from the claim on its place to its name."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import SinkError

Image = npt.NDArray[np.uint8]

CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}
RESERVE = 16_000_000
"""Bytes that stay free on the disk: a video that ends in mid-write for want of room cannot be played."""
_TRIAL = np.zeros((64, 64, 3), np.uint8)


class VideoFile:
    """A video that is hidden until it is complete. One process at a time: its place is locked.

    Args:
        path: Its name; the ending decides about the codec.

    Raises:
        SinkError: If it cannot be written: the folder, the disk, the codec, or another process that writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.pictures = 0
        self._lock = self._claimed()
        try:
            self._try_out()
        except BaseException:
            self.drop()
            raise

    @property
    def size(self) -> int:
        """Bytes written so far, about."""
        # Not by its name: OpenCV removes what it cannot begin.
        return 0 if self._lock is None else os.fstat(self._lock).st_size

    def write(self, picture: Image, fps: float) -> None:
        """Add a picture; of another size than the first, it is brought to that.

        Args:
            picture: uint8 (H, W, 3) BGR.
            fps: Pictures a second; the first one's counts.

        Raises:
            SinkError: If this build of OpenCV lacks the codec.
        """
        if self._writer is None:
            # Even sizes: video codecs halve the resolution of colour.
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
            self._writer = self._opened(fps)
        self._writer.write(cv2.resize(picture, self._size))
        self.pictures += 1

    def finish(self, keep: int) -> None:
        """Complete it and give it its name; up to ``keep`` - 1 older ones move one place on, the last one goes.

        Raises:
            SinkError: If it is not whole, for want of room; then nothing is left of it.
        """
        self._release()
        try:
            # OpenCV does not say that the disk was full.
            if not _is_whole(self._partial, self.pictures):
                raise SinkError(f"{self._path}: the video is lost: it could not be written. Is the disk full?")
            self._move_on(keep)
            self._partial.replace(self._path)
        except OSError as error:
            raise SinkError(f"{self._path}: the video is lost: {error.strerror}.") from error
        finally:
            self.drop()

    def drop(self) -> None:
        """Give up the place, and what is not complete. A second call does nothing."""
        self._release()
        if self._lock is not None:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _claimed(self) -> int | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{self._path.parent}: the folder cannot be made: {error.strerror}.") from error
        lock = None
        try:
            lock = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if lock is not None:
                os.close(lock)
            reason = "another process writes it" if isinstance(error, BlockingIOError) else error.strerror
            raise SinkError(f"{self._path}: cannot be written: {reason}.") from error
        return lock

    def _try_out(self) -> None:
        """Write a small video in its place: disks that are full and codecs that are missing show at once."""
        if self._path.is_dir():
            raise SinkError(f"{self._path}: cannot be written: it is a folder.")
        if free_bytes(self._path.parent) < RESERVE:
            raise no_room(self._path)
        self.write(_TRIAL, 1.0)
        self._release()
        if not _is_whole(self._partial, self.pictures):
            raise SinkError(f"{self._path}: cannot be written. Is the disk full?")
        self.pictures = 0

    def _opened(self, fps: float) -> cv2.VideoWriter:
        code = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix])
        writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, code, fps, self._size)
        if not writer.isOpened():
            raise SinkError(
                f"{self._path}: cannot be written: the disk is full, or this build of OpenCV has no such codec. "
                f"Others: {', '.join(CODECS)}."
            )
        return writer

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _move_on(self, keep: int) -> None:
        path = self._path
        names = [path, *(path.with_name(f"{path.stem}.{age}{path.suffix}") for age in range(1, keep))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)


def free_bytes(folder: Path) -> int:
    """Return the bytes that this process may still write to a folder's disk."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def no_room(path: Path) -> SinkError:
    """Build the error for a disk that is nearly full."""
    return SinkError(f"{path}: cannot be written: less than {RESERVE / 1e6:g} MB are free on the disk.")


def _is_whole(path: Path, pictures: int) -> bool:
    """Tell whether the end of a video of so many pictures can be read."""
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, pictures - 1)
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()
