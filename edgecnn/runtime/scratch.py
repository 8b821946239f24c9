"""Temporary folders that do not outlive their process for long, not even one that was killed.

A folder is locked for as long as somebody works in it, and the lock ends with the process, however it ends. Who makes
the next folder of the same kind removes those that nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecnn.runtime.closing import Closing


class Scratch(Closing):
    """A new, empty folder of our own; removed by `close`, with the object, or at the end of Python.

    Args:
        prefix: Beginning of its name; folders whose names begin and end so, and that nobody holds, are removed.
        suffix: End of its name.
        parent: Where it is made, None for the system's place of temporary files.

    Attributes:
        folder: The folder.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, prefix: str, suffix: str = ".scratch", parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        sweep(parent, prefix, suffix)
        self.folder, lock = _made(parent, prefix, suffix)
        self._end = weakref.finalize(self, _remove, self.folder, lock, os.getpid())

    def close(self) -> None:
        """Remove the folder. A second call does nothing."""
        self._end()


def sweep(parent: Path, prefix: str, suffix: str) -> None:
    """Remove the folders of this kind that a process has left which is no more."""
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(parent) if _is_ours(entry, prefix, suffix)]
        for name in names:
            with suppress(OSError), _locked(parent / name):
                shutil.rmtree(parent / name, ignore_errors=True)


def _is_ours(entry: os.DirEntry[str], prefix: str, suffix: str) -> bool:
    if not (entry.name.startswith(prefix) and entry.name.endswith(suffix)):
        return False
    found = entry.stat(follow_symlinks=False)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _made(parent: Path, prefix: str, suffix: str) -> tuple[Path, int]:
    """Make a folder and lock it; begin anew where somebody swept it between the two."""
    while True:
        folder = Path(tempfile.mkdtemp(suffix, prefix, parent))
        with suppress(FileNotFoundError, BlockingIOError):
            lock = _lock(folder)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int:
    """Return what holds the lock of a folder until it is closed, by us or with our process.

    Raises:
        BlockingIOError: If somebody else holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        pass  # a file system without locks: the folder is never swept there
    return handle


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; an error where somebody else does, or there are no locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _remove(folder: Path, lock: int, process: int) -> None:
    """Remove a folder and let its lock go; a copy of the process that made it leaves it alone."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
