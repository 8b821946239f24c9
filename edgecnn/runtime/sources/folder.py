"""Image folders: ``parts/``, ``folder:parts?watch=1`` to go on with new files as they come.

A picture that cannot be read is a `NoFrame` with the reason, and reading goes on with the next.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from edgecnn.errors import DataError, OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import Frame, NoFrame
from edgecnn.runtime.sources._options import flag_option
from edgecnn.vision.frames import list_images
from edgecnn.vision.read import EXTENSIONS, read_image

LIVE = False
STILLS = True
EXAMPLE = "folder:parts?watch=1"
POLL_SECONDS = 0.2
WAIT_SECONDS = 1.0
"""How long one `read` waits for a new file before it says that there is none."""
SETTLE_SECONDS = 0.5
"""A file counts as complete when neither its size nor its time changed for so long. Clocks do not matter for that."""
MOST_FILES = 100_000
"""Pictures in a watched folder above which it is refused: every look would take longer than the pictures."""

Stamp = tuple[int, int]
"""When a file was last written (nanoseconds), and its size: another stamp is another picture of the same name."""


def source(address: Address) -> Folder:
    """Return a folder. Option: ``watch=1`` waits for new files when all were read; without it that is the end."""
    options = address.options()
    watch = flag_option(options, "watch")
    options.done()
    if not address.path:
        raise OptionError(f"{address}: expected a folder, for example {EXAMPLE}.")
    return Folder(Path(address.path), watch)


class Folder:
    """The pictures in a folder.

    Without watching: all of them, those in sub-folders too, sorted by path. Watching: those in the folder itself, first
    what is there, then for ever what comes, the oldest first; a file that is written again is a new picture. After
    `close` and `open` a watched folder goes on where it was. What was given is remembered while the file is there:
    whoever feeds the folder also has to empty it.

    Args:
        path: The folder.
        watch: Whether to wait for new files.
    """

    def __init__(self, path: Path, watch: bool = False) -> None:
        self._path, self._watch = path, watch
        self._waiting: deque[str] = deque()
        self._files: Iterator[Path] | None = None
        self._given: dict[str, Stamp] = {}
        self._settling: dict[str, tuple[Stamp, float]] = {}

    def open(self) -> None:
        """Look into the folder; see `Source`."""
        self.close()
        if not self._path.is_dir():
            raise SourceError(f"{self._path}: no such folder.")
        try:
            self._files = iter(()) if self._watch else iter(list_images(self._path))
        except DataError as error:
            raise SourceError(f"{error} To wait for pictures: folder:{self._path}?watch=1") from error

    def read(self) -> Frame | NoFrame | None:
        """Return the next picture; see `Source`."""
        if self._files is None:
            raise SourceError(f"{self._path}: not open.")
        path = self._arrived() if self._watch else next(self._files, None)
        if path is None:
            return NoFrame() if self._watch else None
        name = path.relative_to(self._path).as_posix()
        try:
            return Frame(read_image(path), name)
        except DataError as error:
            return NoFrame(str(error), name)

    def close(self) -> None:
        """Forget the list of files; what a watched folder has given is remembered."""
        self._files = None

    def _arrived(self) -> Path | None:
        """Return the next file that came, or None after a while without one."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._waiting:
            self._look()
            if self._waiting:
                break
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_SECONDS)
        return self._path / self._waiting.popleft()

    def _look(self) -> None:
        """Queue the files that are complete and were not given yet.

        Raises:
            SourceError: If the folder is gone, or holds too many files.
        """
        found, now = self._stamps(), time.monotonic()
        # Both are made anew from what is there, so neither grows beyond the folder.
        self._given = {name: stamp for name, stamp in self._given.items() if name in found}
        coming = {name: stamp for name, stamp in found.items() if self._given.get(name) != stamp}
        before = self._settling
        self._settling = {
            name: before[name] if name in before and before[name][0] == stamp else (stamp, now)
            for name, stamp in coming.items()
        }
        complete = [name for name, (_, since) in self._settling.items() if now - since >= SETTLE_SECONDS]
        self._waiting.extend(sorted(complete, key=lambda name: (found[name][0], name)))
        self._given.update((name, found[name]) for name in complete)

    def _stamps(self) -> dict[str, Stamp]:
        try:
            found = dict(islice(_pictures(self._path), MOST_FILES + 1))
        except OSError as error:
            raise SourceError(f"{self._path}: the folder cannot be read: {error.strerror}.") from error
        if len(found) > MOST_FILES:
            raise SourceError(f"{self._path}: more than {MOST_FILES} pictures. Move those that were read elsewhere.")
        return found


def _pictures(folder: Path) -> Iterator[tuple[str, Stamp]]:
    """Yield the pictures in the folder; hidden files are left out, so they may be written under such a name.

    Raises:
        OSError: If the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.lower().endswith(EXTENSIONS):
                continue
            with suppress(FileNotFoundError):  # it was taken away meanwhile
                status = entry.stat()
                yield entry.name, (status.st_mtime_ns, status.st_size)
