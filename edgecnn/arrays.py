"""Arrays in files that nobody has vouched for: ``.npy``, ``.npz``, and the zip files that hold them. No pickle.

numpy's own reader believes a header: it allocates what the header asks for, and evaluates the header's text without a
limit of ours. Here a header must be short and fit the bytes that follow, before anything is allocated.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.boundary import boundary
from edgecnn.errors import EdgecnnError
from edgecnn.limits import Limit

Array = npt.NDArray[Any]

_HEADER_BYTES = 1024
"""numpy writes about 120; its own limit is 10,000."""
_KINDS = "biuf"
_PLAIN_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)
# End records of a zip file: PKWARE APPNOTE 4.3.14 to 4.3.16.
_END, _END_BYTES, _LONGEST_COMMENT = b"PK\x05\x06", 22, 0xFFFF
_LOCATOR, _LOCATOR_BYTES, _END64_BYTES = b"PK\x06\x07", 20, 56


@contextmanager
def opened_zip(path: Path, limit: Limit, kind: type[EdgecnnError]) -> Iterator[zipfile.ZipFile]:
    """Open a zip file that is read inside; see `edgecnn.boundary` for what goes wrong there.

    Args:
        path: The file.
        limit: Most bytes that all members together may have, unpacked.
        kind: The error to raise.

    Raises:
        EdgecnnError: Of ``kind``, if it is no zip file, damaged, encrypted, packed by anything but deflate, or larger
            than allowed.
    """
    with boundary(kind, f"{path}: not a readable {path.suffix.lower() or '.zip'}"), path.open("rb") as stream:
        limits.ZIP_DIRECTORY.check(_directory_bytes(stream), path, kind)
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                _check_packing(member, path, kind)
            total = sum(member.file_size for member in archive.infolist())
            if total > limit.most:
                raise kind(
                    f"{path}: it unpacks to {total} bytes, more than the {limit.most} that {limit.name} may have."
                )
            yield archive


def read_npz(path: Path, limit: Limit, kind: type[EdgecnnError]) -> dict[str, Array]:
    """Read the arrays of an ``.npz``, by key.

    Args:
        path: The file.
        limit: Most bytes that all arrays together may have.
        kind: The error to raise.

    Raises:
        EdgecnnError: Of ``kind``, if it is none, damaged, too large, or holds pickled objects.
    """
    arrays = {}
    with opened_zip(path, limit, kind) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key in arrays or key == member.filename:
                raise ValueError(f"'{member.filename}' is no array, or is there twice")
            with archive.open(member) as stream:
                arrays[key] = _read_array(stream, member.file_size)
    return arrays


def read_npy(path: Path, limit: Limit, kind: type[EdgecnnError]) -> Array:
    """Read the array of an ``.npy``.

    Args:
        path: The file.
        limit: Most bytes that it may have.
        kind: The error to raise.

    Raises:
        EdgecnnError: Of ``kind``, if it is none, damaged, too large, or holds pickled objects.
    """
    with boundary(kind, f"{path}: not a readable .npy array"), path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        limit.check(size, path, kind)
        return _read_array(stream, size)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an ``.npy``, and nothing behind it. Call it inside a `boundary`.

    Returns:
        Shape, whether the order is Fortran's, and dtype: a number or truth value, nothing that is pickled.

    Raises:
        ValueError: If it is no such header.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream, max_header_size=_HEADER_BYTES)
    except ValueError as error:
        # numpy goes on to advise that the file be trusted.
        raise ValueError(str(error).partition("\n")[0].partition(" and may not be safe")[0]) from error
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded: it holds pickled objects, which could run code")
    if dtype.kind not in _KINDS or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"expected an array of numbers, got {dtype} {shape}")
    return shape, fortran, dtype


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write ``arrays`` as a compressed ``.npz`` whose bytes depend on nothing but the arrays (fixed time stamps)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def _read_array(stream: IO[bytes], size: int) -> Array:
    """Read one array out of ``size`` bytes, header and all; the header must ask for exactly what is there."""
    shape, fortran, dtype = read_header(stream)
    asked, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if asked != there:
        raise ValueError(f"the header says {dtype} {shape}, which is {asked} bytes, and {there} bytes follow")
    buffer = bytearray(asked)
    if _fill(stream, buffer) != asked:
        raise ValueError("cut off")
    return np.ndarray(shape, dtype, buffer=buffer, order="F" if fortran else "C")


def _fill(stream: IO[bytes], buffer: bytearray) -> int:
    """Read until ``buffer`` is full or the stream ends; return how much was read."""
    view, done = memoryview(buffer), 0
    while done < len(buffer) and (data := stream.read(min(len(buffer) - done, 1 << 20))):
        view[done : done + len(data)] = data
        done += len(data)
    return done


def _check_packing(member: zipfile.ZipInfo, path: Path, kind: type[EdgecnnError]) -> None:
    """Refuse what zipfile unpacks without looking at the size that was declared: bzip2, LZMA, and whatever comes."""
    if member.compress_type not in _PLAIN_COMPRESSIONS or member.flag_bits & _ENCRYPTED:
        raise kind(f"{path}: '{member.filename}' must be stored or deflated, and not encrypted.")


def _directory_bytes(stream: IO[bytes]) -> int:
    """Return the size of a zip file's directory, which zipfile reads as a whole."""
    stream.seek(0, io.SEEK_END)
    length = min(stream.tell(), _END_BYTES + _LONGEST_COMMENT + _LOCATOR_BYTES + _END64_BYTES)
    stream.seek(-length, io.SEEK_END)
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise ValueError("File is not a zip file")
    stream.seek(0)
    if tail[max(0, at - _LOCATOR_BYTES) : at].startswith(_LOCATOR) and at >= _LOCATOR_BYTES + _END64_BYTES:
        return int(struct.unpack_from("<Q", tail, at - _LOCATOR_BYTES - _END64_BYTES + 40)[0])
    return int(struct.unpack_from("<L", tail, at + 12)[0])


__all__ = ["Array", "opened_zip", "read_header", "read_npy", "read_npz", "write_npz"]
