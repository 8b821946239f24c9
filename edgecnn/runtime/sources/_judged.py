"""What becomes of pictures in a watched folder when they were judged: remembered, moved away, or deleted."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from edgecnn.errors import SourceError

Stamp = tuple[int, int]
"""When a file was last written (nanoseconds), and its size: another stamp is another picture of the same name."""
MEMORY = ".edgecnn-judged"
SPARE_LINES = 1000
"""Lines about files that are gone, above which the memory is written anew."""


class Judged(Protocol):
    """What is done with a picture that was judged."""

    def open(self) -> Mapping[str, Stamp]:
        """Begin; return the pictures that were judged before.

        Raises:
            SourceError: If it cannot be done in this folder.
        """
        ...

    def add(self, name: str, stamp: Stamp) -> None:
        """Deal with a picture that was judged.

        Raises:
            OSError: If that fails.
        """
        ...

    def keep(self, names: Container[str]) -> None:
        """Forget all pictures but these."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Forgotten:
    """Does nothing: after a restart all pictures are judged again."""

    def open(self) -> Mapping[str, Stamp]:
        """Return nothing."""
        return {}

    def add(self, name: str, stamp: Stamp) -> None:
        """Do nothing."""

    def keep(self, names: Container[str]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Remembered(Forgotten):
    """Keeps a file with a line for each picture. One process a file.

    A line survives the end of the process; a power cut may take the last ones, whose pictures are then judged again.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._known: dict[str, Stamp] = {}
        self._lines = 0

    def open(self) -> Mapping[str, Stamp]:
        """Return what the file holds; what a power cut left of its last line is passed over."""
        self.close()
        try:
            self._file = self._path.open("a+", encoding="ascii")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            lines = self._file.readlines()
        except BlockingIOError as error:
            raise SourceError(
                f"{self._path}: another process keeps here what it judged. Give one of them memory=FILE of its own."
            ) from error
        except (OSError, UnicodeError) as error:
            raise SourceError(
                f"{self._path}: cannot be kept: {error}. It says which pictures were judged; give memory=FILE another "
                "place, or memory=off to judge all of them again after a restart."
            ) from error
        self._lines = len(lines)
        self._known = {entry[0]: (entry[1], entry[2]) for line in lines if (entry := _entry(line)) is not None}
        if lines and not lines[-1].endswith("\n"):
            self._rewrite()
        return self._known

    def add(self, name: str, stamp: Stamp) -> None:
        """Write a line."""
        assert self._file is not None, "only judged while it is open"
        self._file.write(_line(name, stamp))
        self._file.flush()
        self._known[name] = stamp
        self._lines += 1

    def keep(self, names: Container[str]) -> None:
        """Forget all others; write the file anew where most of its lines are of no use any more."""
        self._known = {name: stamp for name, stamp in self._known.items() if name in names}
        if self._lines > 2 * len(self._known) + SPARE_LINES:
            self._rewrite()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _rewrite(self) -> None:
        assert self._file is not None, "only while it is open"
        self._file.truncate(0)
        self._file.writelines(_line(name, stamp) for name, stamp in self._known.items())
        self._file.flush()
        self._lines = len(self._known)


class Removed(Forgotten):
    """Deletes pictures, or moves them to another folder; a name that is taken there gets a number.

    Args:
        folder: The watched folder.
        target: Where to move them, None to delete them.
    """

    def __init__(self, folder: Path, target: Path | None) -> None:
        self._folder, self._target = folder, target

    def open(self) -> Mapping[str, Stamp]:
        """Make the target; see that files may be taken away."""
        try:
            if self._target is not None:
                self._target.mkdir(parents=True, exist_ok=True)
            for place in filter(None, (self._folder, self._target)):
                if not os.access(place, os.W_OK):
                    raise PermissionError(f"{place} cannot be written to")
        except OSError as error:
            raise SourceError(f"{self._folder}: judged pictures cannot be taken away: {error}.") from error
        return {}

    def add(self, name: str, stamp: Stamp) -> None:
        """Take the picture away, unless another one has come under its name since."""
        path = self._folder / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        if (status.st_mtime_ns, status.st_size) != stamp:
            return
        if self._target is None:
            path.unlink()
        else:
            shutil.move(path, _free(self._target / name))


def _line(name: str, stamp: Stamp) -> str:
    return json.dumps([name, *stamp]) + "\n"


def _entry(line: str) -> tuple[str, int, int] | None:
    """Return name and stamp of a line, None if it is not whole."""
    try:
        name, written, size = json.loads(line)
        return str(name), int(written), int(size)
    except (ValueError, TypeError):
        return None


def _free(path: Path) -> Path:
    """Return a path that nobody uses yet."""
    found, number = path, 0
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
