"""Image folders: ``parts/``, ``folder:parts?watch=1`` to go on with new files as they come.

A watched folder goes on where it was, also after a restart. Options for that: ``memory`` (a file, or ``off``) and
``judged`` (``keep``, ``delete``, or a folder to move pictures to). A picture that cannot be read is a `NoFrame` with
the reason, and reading goes on with the next.
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
from edgecnn.runtime.sources._judged import MEMORY, Forgotten, Judged, Remembered, Removed, Stamp
from edgecnn.runtime.sources._options import flag_option
from edgecnn.vision.frames import list_images
from edgecnn.vision.read import EXTENSIONS, read_image

LIVE = False
STILLS = True
EXAMPLE = "folder:parts?watch=1"
POLL_SECONDS = 0.2
WAIT_SECONDS = 0.5
"""How long one `read` waits for a new file before it says that there is none; the loop's end waits for that."""
SETTLE_SECONDS = 0.5
"""A file counts as complete when neither its size nor its time changed for so long. Clocks do not matter for that."""
MOST_FILES = 100_000
"""Pictures in a watched folder above which it is refused: every look would take longer than the pictures."""


def source(address: Address) -> Folder:
    """Return a folder. Option: ``watch=1`` waits for new files when all were read; without it that is the end."""
    options = address.options()
    watch = flag_option(options, "watch")
    memory, judged = (options.text("memory"), options.text("judged", "keep")) if watch else ("", "keep")
    options.done()
    if not address.path:
        raise OptionError(f"{address}: expected a folder, for example {EXAMPLE}.")
    folder = Path(address.path)
    return Folder(folder, watch, _judged(folder, memory, judged) if watch else Forgotten())


def _judged(folder: Path, memory: str, judged: str) -> Judged:
    """Return what becomes of judged pictures.

    Raises:
        OptionError: If they shall be remembered and taken away.
    """
    if judged != "keep":
        if memory not in ("", "off"):
            raise OptionError("pictures that are deleted or moved need no memory: give memory or judged, not both.")
        return Removed(folder, None if judged == "delete" else Path(judged))
    return Forgotten() if memory == "off" else Remembered(Path(memory) if memory else folder / MEMORY)


class Folder:
    """The pictures in a folder.

    Without watching: all of them, those in sub-folders too, sorted by path. Watching: those in the folder itself, first
    what is there, then for ever what comes, the oldest first; a file that is written again is a new picture. What was
    given is remembered while the file is there: whoever feeds the folder also has to empty it.

    Args:
        path: The folder.
        watch: Whether to wait for new files.
        judged: What becomes of those that were judged; nothing by default.

    Attributes:
        lasting: Whether it is tried again if it was there and is not: a share comes back.
    """

    def __init__(self, path: Path, watch: bool = False, judged: Judged | None = None) -> None:
        self._path, self._watch, self.lasting = path, watch, watch
        self._judged: Judged = judged or Forgotten()
        self._waiting: deque[str] = deque()
        self._files: Iterator[Path] | None = None
        self._given: dict[str, Stamp] = {}
        self._settling: dict[str, tuple[Stamp, float]] = {}
        # What `read` gave and nobody has judged yet, how many were dealt with, and, set by another thread, judged.
        self._unjudged: deque[tuple[str, Stamp]] = deque()
        self._settled = self._judged_count = 0

    def open(self) -> None:
        """Look into the folder; see `Source`."""
        self.close()
        if not self._path.is_dir():
            raise SourceError(f"{self._path}: no such folder.")
        try:
            self._files = iter(()) if self._watch else iter(list_images(self._path))
        except DataError as error:
            raise SourceError(f"{error} To wait for pictures: folder:{self._path}?watch=1") from error
        self._given = {**self._judged.open(), **self._given}

    def read(self) -> Frame | NoFrame | None:
        """Return the next picture; see `Source`."""
        if self._files is None:
            raise SourceError(f"{self._path}: not open.")
        if self._watch:
            return self._next()
        path = next(self._files, None)
        return None if path is None else self._picture(path)

    def judged(self, count: int) -> None:
        """Hear that so many of what `read` gave have been judged; from any thread. See `Source`."""
        self._judged_count = count

    def close(self) -> None:
        """Forget the list of files; what a watched folder has given is remembered."""
        self._files = None
        with suppress(OSError):
            self._settle()
        self._judged.close()

    def _next(self) -> Frame | NoFrame:
        """Return the next picture of a watched folder, or say that none has come.

        Raises:
            SourceError: If the folder is gone.
        """
        name = self._arrived()
        if name is None:
            return NoFrame()
        found = self._picture(self._path / name)
        if isinstance(found, NoFrame) and not self._path.is_dir():
            # The folder went while it was read: the picture is given when it is back.
            self._waiting.appendleft(name)
            raise SourceError(f"{self._path}: the folder is gone.")
        self._unjudged.append((name, self._given[name]))
        return found

    def _picture(self, path: Path) -> Frame | NoFrame:
        name = path.relative_to(self._path).as_posix()
        try:
            return Frame(read_image(path), name)
        except DataError as error:
            return NoFrame(str(error), name)

    def _settle(self) -> None:
        """Deal with what was judged since.

        Raises:
            OSError: If that fails; it is tried again the next time.
        """
        while self._settled < self._judged_count and self._unjudged:
            self._judged.add(*self._unjudged[0])
            self._unjudged.popleft()
            self._settled += 1

    def _arrived(self) -> str | None:
        """Return the name of the next file that came, or None after a while without one."""
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            self._settle()
        except OSError as error:  # a share may have gone with what is kept in it
            raise SourceError(f"{self._path}: what was judged cannot be noted or taken away: {error}.") from error
        while not self._waiting:
            self._look()
            if self._waiting:
                break
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_SECONDS)
        return self._waiting.popleft()

    def _look(self) -> None:
        """Queue the files that are complete and were not given yet.

        Raises:
            SourceError: If the folder is gone, or holds too many files, or judged ones cannot be dealt with.
        """
        found, now = self._stamps(), time.monotonic()
        if found:  # an empty folder may be the place where a share is missing
            # Both are made anew from what is there, so neither grows beyond the folder.
            self._given = {name: stamp for name, stamp in self._given.items() if name in found}
            self._judged.keep(found)
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
