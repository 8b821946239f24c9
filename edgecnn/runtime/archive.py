"""Zip files that come from anywhere, and zip files that are the same bytes every time."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edgecnn import limits
from edgecnn.arrays import opened_zip
from edgecnn.errors import BundleError
from edgecnn.limits import Limit
from edgecnn.manifest import FILE_NAME, check_file_name

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


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


def unpack(path: Path, folder: Path, limit: Limit) -> None:
    """Unpack a bundle's zip file into the empty ``folder``.

    Nothing is written before all names and sizes were looked at.

    Args:
        path: The zip file.
        folder: Where to.
        limit: Most bytes that all members together may have, unpacked.

    Raises:
        BundleError: If it is no zip file, damaged, encrypted, too large, or a member is a link, lies outside the
            bundle, or is there twice.
    """
    with opened_zip(path, limit, BundleError) as archive:
        members = [member for member in archive.infolist() if not member.filename.endswith("/")]
        _check_members(path, members)
        for member in members:
            _extract(archive, member, folder)


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    limits.MEMBERS.check(len(members), path, BundleError)
    if len({member.filename.casefold() for member in members}) != len(members):
        raise BundleError(f"{path}: a member is there twice.")
    for member in members:
        if member.filename != FILE_NAME:
            check_file_name(member.orig_filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BundleError(f"{path}: '{member.filename}' must be a regular file, no link or device.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; zipfile stops at the size that was checked and compares the checksum."""
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as stream:
        shutil.copyfileobj(source, stream, _BLOCK)
