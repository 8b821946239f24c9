"""Pictures directly in the folder, all of sound parts: for inspection that learns from good parts alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import OptionError
from edgecnn.train.data.layouts._found import Found, folders, pictures
from edgecnn.train.data.samples import GOOD, Sample

TASKS = ("anomaly",)
LOOKS = "1.jpg  every picture shows a sound part; no sub-folders"


def fits(folder: Path) -> bool:
    """Return whether there are pictures and no sub-folders."""
    return bool(pictures(folder)) and not folders(folder)


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return every picture as a good one.

    Raises:
        OptionError: If ``good`` names a folder: there are none.
    """
    if good:
        raise OptionError(f"good={good[0]} names a folder of good parts, but {folder} has no sub-folders.")
    return Found(tuple(Sample(path, GOOD) for path in pictures(folder)))
