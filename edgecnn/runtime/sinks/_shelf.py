"""A folder of folders with a budget: each is there as a whole or not at all, and the oldest make room for new ones."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgecnn.errors import SinkError

_BLOCK = 4096
_HIDDEN = ".edgecnn-"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d{6,}-(REJECT|INVALID)")
"""Names of folders that may be deleted: those of `edgecnn.runtime.loop.event.Event.name`, and no others."""


class Shelf:
    """Folders on a disk. One process at a time: the place is locked. Not for several threads.

    Args:
        place: The folder that holds them; it is made.
        budget: Bytes that all of them together may have. What earlier runs left counts.

    Raises:
        SinkError: If the place cannot be made, read, locked or written to.
    """

    def __init__(self, place: Path, budget: int) -> None:
        self._place, self._budget = place, budget
        self._lock: int | None = None
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sweep()
            _try_out(place)
            names = sorted(path.name for path in place.iterdir() if _NAME.fullmatch(path.name))
            self._kept = deque((name, _size(place / name)) for name in names)
            self._total = sum(size for _, size in self._kept)
        except OSError as error:
            self.close()
            reason = "another process uses it" if isinstance(error, BlockingIOError) else error.strerror
            raise SinkError(f"{place}: cannot be used for events: {reason}.") from error

    def put(self, name: str, write: Callable[[Path], None]) -> Path:
        """Add a folder.

        Args:
            name: Its name.
            write: Called with an empty folder to write to.

        Returns:
            The folder at its place.

        Raises:
            SinkError: If there is no room, or it is larger than the budget; nothing of it is left then.
        """
        hidden, path = self._place / f"{_HIDDEN}{name}", self._place / name
        try:
            hidden.mkdir()
            write(hidden)
            size = _settle(hidden)
            self._make_room(size)
            hidden.rename(path)
        except OSError as error:
            raise SinkError(f"{path}: the event is lost: {error.strerror or error}.") from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        self._kept.append((name, size))
        self._total += size
        return path

    def close(self) -> None:
        """Unlock the place. A second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_room(self, size: int) -> None:
        """Delete the oldest folders until ``size`` more bytes fit into the budget.

        Raises:
            SinkError: If they never will.
        """
        if size > self._budget:
            raise SinkError(
                f"{self._place}: an event of {size / 1e6:.1f} MB is larger than the budget of "
                f"{self._budget / 1e6:g} MB. Give more with budget_mb=..."
            )
        while self._kept and self._total + size > self._budget:
            name, freed = self._kept.popleft()
            self._total -= freed
            # Hidden first: whoever looks sees the whole folder or none.
            gone = self._place / f"{_HIDDEN}{name}"
            with suppress(FileNotFoundError):
                (self._place / name).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed process left half-written or half-deleted."""
        for path in self._place.glob(f"{_HIDDEN}*"):
            shutil.rmtree(path, ignore_errors=True)


def _try_out(place: Path) -> None:
    """Write a block, so that a disk that is full, or for reading only, shows at once."""
    hidden = place / f"{_HIDDEN}trial"
    try:
        hidden.mkdir()
        (hidden / "block").write_bytes(bytes(_BLOCK))
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _settle(folder: Path) -> int:
    """Force a folder's files to the disk, so that a power cut leaves no empty ones; return its size."""
    for path in (*folder.iterdir(), folder):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    return _size(folder)


def _size(folder: Path) -> int:
    """Return the bytes that a folder takes on a disk: whole blocks for every file and for itself."""
    return _BLOCK + sum(-(-path.stat().st_size // _BLOCK) * _BLOCK for path in folder.iterdir())
