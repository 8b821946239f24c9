"""Streams of frames: from a picture, a folder, an ``.npz`` or ``.npy``, or any iterable. One frame in memory at a time.

What cannot be read is skipped, counted and named; a stream in which nothing can be read is an error, never an empty
success.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.arrays import opened_zip, read_header
from edgecnn.boundary import boundary
from edgecnn.errors import DataError
from edgecnn.vision.read import EXTENSIONS, read_image

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Skipped:
    """A frame that could not be used, and why."""

    name: str
    reason: str


class Frames:
    """A named stream of frames that can be walked through again, unless it comes from a one-time iterator.

    Args:
        source: Path of a picture, of a folder (searched below, in sorted order), of an ``.npz`` (key ``frames``, else
            its first array) or ``.npy`` with frames (N, H, W, C) or (N, H, W); or an iterable of uint8 arrays.

    Attributes:
        skipped: What the last walk could not read.
        count: How many frames the last walk yielded.

    Raises:
        DataError: If the path does not exist, or there is no picture in the folder.
    """

    def __init__(self, source: str | Path | Iterable[Image]) -> None:
        self._source = Path(source) if isinstance(source, str) else source
        self.skipped: list[Skipped] = []
        self.count = 0
        self._hash = hashlib.sha256()
        self._files = self._list_files()

    def __iter__(self) -> Iterator[Image]:
        for _, frame in self.named():
            yield frame

    def __len__(self) -> int:
        """Return the number of files, or of frames where it is known; an iterable without a length raises TypeError."""
        if self._files:
            return len(self._files)
        if isinstance(self._source, Path):
            return _stored_shape(self._source)[0]
        if isinstance(self._source, Sized):
            return len(self._source)
        raise TypeError("a one-time iterator of frames has no length")

    @property
    def digest(self) -> str:
        """SHA-256 over shapes and pixels of the frames of the last walk, in their order."""
        return self._hash.hexdigest()

    def named(self) -> Iterator[tuple[str, Image]]:
        """Yield (name, frame); the name is the file's path below the folder, or ``frame <index>``.

        Raises:
            DataError: At the end, if not one frame could be used.
        """
        self.skipped, self.count, self._hash = [], 0, hashlib.sha256()
        for name, frame in self._walk():
            self.count += 1
            self._hash.update(f"{frame.shape}".encode())
            self._hash.update(np.ascontiguousarray(frame).data)
            yield name, frame
        if self.count == 0:
            reasons = "; ".join(f"{item.name}: {item.reason}" for item in self.skipped[:3])
            raise DataError(f"no usable frame in {self}{f' ({reasons})' if reasons else ''}.")

    def skip(self, name: str, reason: str) -> None:
        """Note a frame that the reader of this stream could not use, beside those that could not be read."""
        self.skipped.append(Skipped(name, reason))

    def __str__(self) -> str:
        return str(self._source) if isinstance(self._source, Path) else "the given frames"

    def _list_files(self) -> list[Path]:
        source = self._source
        if not isinstance(source, Path):
            return []
        if not source.exists():
            raise DataError(f"{source}: no such file or folder.")
        if source.is_dir():
            return list_images(source)
        return [] if source.suffix.lower() in (".npz", ".npy") else [source]

    def _walk(self) -> Iterator[tuple[str, Image]]:
        if self._files:
            yield from self._walk_files()
        elif isinstance(self._source, Path):
            yield from _walk_stored(self._source)
        else:
            yield from self._walk_iterable(self._source)

    def _walk_files(self) -> Iterator[tuple[str, Image]]:
        root = self._source if isinstance(self._source, Path) and self._source.is_dir() else None
        for path in self._files:
            name = path.relative_to(root).as_posix() if root else path.name
            try:
                frame = read_image(path)
            except DataError as error:
                self.skip(name, str(error))
                continue
            yield name, frame

    def _walk_iterable(self, source: Iterable[Image]) -> Iterator[tuple[str, Image]]:
        for index, frame in enumerate(source):
            name = f"frame {index}"
            if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim in (2, 3) and frame.size:
                yield name, frame
            else:
                came = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
                self.skip(name, f"expected a uint8 array of shape (H, W) or (H, W, C), got {came}")


def list_images(folder: Path) -> list[Path]:
    """Return the pictures below ``folder``, sorted by path; hidden files and folders are left out.

    Raises:
        DataError: If there is none.
    """
    found = [path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file()]
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not visible:
        raise DataError(f"{folder}: no pictures in it. Looked for {', '.join(EXTENSIONS)}, also in its sub-folders.")
    return sorted(visible, key=lambda path: path.relative_to(folder).as_posix())


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    """Open the array in a file, and turn what is wrong with it into a `DataError`."""
    with boundary(DataError, f"{path}: not a readable array of frames"), _opened(path) as stream:
        yield stream


def _walk_stored(path: Path) -> Iterator[tuple[str, Image]]:
    """Yield the frames of an ``.npz`` or ``.npy``, reading one at a time."""
    with _reading(path) as stream:
        count, shape = _header(stream, path)
        size = math.prod(shape)
        for index in range(count):
            data = stream.read(size)
            if len(data) != size:
                raise DataError(f"{path}: cut off at frame {index} of {count}.")
            yield f"frame {index}", np.frombuffer(data, np.uint8).reshape(shape)


def _stored_shape(path: Path) -> tuple[int, ...]:
    with _reading(path) as stream:
        count, shape = _header(stream, path)
    return count, *shape


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open the array inside an ``.npz`` (``frames``, else the first), or the ``.npy`` itself."""
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            yield stream
        return
    with opened_zip(path, limits.STREAM, DataError) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if not names:
            raise DataError(f"{path}: no array in it; expected one called 'frames'.")
        with archive.open("frames.npy" if "frames.npy" in names else names[0]) as stream:
            yield stream


def _header(stream: IO[bytes], path: Path) -> tuple[int, tuple[int, ...]]:
    """Read and check an array's header: number of frames, and shape of one."""
    shape, fortran, dtype = read_header(stream)
    if dtype != np.uint8 or len(shape) not in (3, 4) or fortran or min(shape) < 1:
        order = " in Fortran order" if fortran else ""
        raise DataError(f"{path}: expected uint8 frames (N, H, W, C) or (N, H, W), got {dtype} {shape}{order}.")
    limits.STREAM.check(math.prod(shape), path, DataError)
    limits.FRAME.check(math.prod(shape[1:]), f"{path}: frames of shape {shape[1:]}", DataError)
    return shape[0], shape[1:]
