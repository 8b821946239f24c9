"""What a layout returns, and what several need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import DataError, unknown_name
from edgecnn.train.data.samples import Sample, Skipped
from edgecnn.vision.read import EXTENSIONS

GOOD_NAMES = frozenset(
    ("good", "ok", "okay", "free", "normal", "pass", "passed", "defectfree", "nodefect", "nondefective", "intact")
)
"""Folder names that mean sound parts, in lower case and without ``-``, ``_`` and spaces."""


@dataclass(frozen=True)
class Found:
    """What a layout found in a folder.

    Attributes:
        samples: In order of their paths.
        warnings: What the user should know.
        skipped: What is named or there but cannot be used, and why.
    """

    samples: tuple[Sample, ...]
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def folders(folder: Path) -> list[Path]:
    """Return the visible sub-folders, sorted by name; none where ``folder`` is not there."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def pictures(folder: Path) -> list[Path]:
    """Return the visible pictures directly in a folder, sorted by name; none where ``folder`` is not there."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def pictures_below(folder: Path) -> list[Path]:
    """Return the visible pictures in a folder and below it, sorted by path; links to folders below are not followed."""
    below = [path for path in folders(folder) if not path.is_symlink()]
    return [*pictures(folder), *(path for part in below for path in pictures_below(part))]


def inside(folder: Path, name: str, named_by: Path) -> Path:
    """Return the file that a table or list calls ``name``, relative to ``folder``; a leading ``/`` means the folder.

    Raises:
        DataError: If it is not below ``folder``, also through a link.
    """
    path = folder / name.replace("\\", "/").lstrip("/")
    try:
        within = folder.resolve() in path.resolve().parents
    except (OSError, ValueError) as error:
        raise DataError(f"{named_by}: '{name}' is no path: {error}.") from error
    if not within:
        raise DataError(f"{named_by}: '{name}' leads out of {folder}. Files must lie below the folder that is read.")
    return path


def good_names(named: Iterable[str], good: Sequence[str], where: str) -> frozenset[str]:
    """Return which of the folders' names mean sound parts.

    Args:
        named: Names of the folders.
        good: What the user says; empty to recognise `GOOD_NAMES`.
        where: What to call the place in messages.

    Raises:
        OptionError: If the user names a folder that is not there.
        DataError: If nothing is named and no folder's name, or more than one, means sound parts.
    """
    names = sorted(named)
    for name in good:
        if name not in names:
            raise unknown_name("folder of good parts", name, names)
    found = [name for name in names if plain(name) in GOOD_NAMES]
    if good or len(found) == 1:
        return frozenset(good or found)
    meaning = f"'{found[0]}' and '{found[1]}' both mean" if found else "none of their names means"
    raise DataError(
        f"{where}: its folders are {', '.join(names)}, and {meaning} sound parts. Say which do: good=NAME "
        f"(recognised by itself: one folder called good, ok, free, normal, ...)."
    )


def video_of(image: Path, folder: Path) -> str:
    """Return the group of a frame that lies in its video's folder, empty where it lies in no folder of its own."""
    return "" if image.parent == folder else image.parent.relative_to(folder).as_posix()


def unknown_videos(samples: Sequence[Sample], why: str) -> tuple[str, ...]:
    """Return a warning if there are frames of which nobody says what video they are from, and ``why``."""
    without = sum(not sample.group for sample in samples)
    if not without:
        return ()
    return (
        f"{without} of {len(samples)} frames do not say which video they are from ({why}): frames of one video that do "
        "not look the same may be learned from and validated on, which flatters the figures.",
    )


def plain(name: str) -> str:
    """Return a folder's name in lower case without what separates words."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
