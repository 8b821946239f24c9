"""Zip files that come from anywhere, and zip files that are the same bytes every time."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import BundleError
from edgecnn.manifest import FILE_NAME, check_file_name

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20
_MOST_MEMBERS = 4096
BROKEN = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive may raise."""


def pack(folder: Path, path: Path, names: Sequence[str]) -> Path:
    """Write ``names`` of ``folder`` into the zip file ``path``, fixed time stamps and modes; return ``path``."""
    with zipfile.ZipFile(path, "x") as archive:
        for name in names:
            member = zipfile.ZipInfo(name, date_time=_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(member, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return path


def unpack(path: Path, folder: Path, largest: int) -> None:
    """Unpack a bundle's zip file into the empty ``folder``.

    Nothing is written before all names and sizes were looked at.

    Args:
        path: The zip file.
        folder: Where to.
        largest: Most bytes that all members together may have, unpacked.

    Raises:
        BundleError: If it is no zip file, damaged, encrypted, too large, or a member is a link, lies outside the
            bundle, or is there twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(path, members, largest)
            for member in members:
                _extract(archive, member, folder)
    except BROKEN as error:
        raise BundleError(f"{path}: not a readable .zip: {error}.") from error


def read_npz(path: Path, largest: int) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an ``.npz``, by key.

    Args:
        path: The file.
        largest: Most bytes that all arrays together may have.

    Raises:
        BundleError: If it is none, damaged, too large, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > largest:
            raise ValueError(f"it unpacks to {total} bytes, more than {largest}")
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except BROKEN as error:
        raise BundleError(f"{path.name}: not a readable .npz: {error}.") from error


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo], largest: int) -> None:
    names = [member.filename for member in members]
    if len(names) > _MOST_MEMBERS or len({name.casefold() for name in names}) != len(names):
        raise BundleError(f"{path}: a member is there twice, or there are more than {_MOST_MEMBERS}.")
    for member in members:
        if member.filename != FILE_NAME:
            check_file_name(member.orig_filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BundleError(f"{path}: '{member.filename}' must be a regular file, no link or device.")
    total = sum(member.file_size for member in members)
    if total > largest:
        raise BundleError(f"{path}: it unpacks to {total} bytes, more than the {largest} that a bundle may have.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; zipfile stops at the size that was checked and compares the checksum."""
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as stream:
        shutil.copyfileobj(source, stream, _BLOCK)
