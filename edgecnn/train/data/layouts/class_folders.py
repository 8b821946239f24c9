"""One folder per class: ``good/``, ``scratch/``, ``dent/``, ...; sub-folders in them are parts or batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import DataError
from edgecnn.train.data.layouts._found import Found, folders, good_names, pictures, pictures_below
from edgecnn.train.data.samples import GOOD, Sample

TASKS = ("defect", "anomaly")
LOOKS = """good/1.jpg     or good/part-7/1.jpg: what is in one sub-folder stays together
scratch/2.jpg  one folder for each kind of defect"""
NO_CLASSES = frozenset(
    ("images", "masks", "labels", "train", "training", "test", "testing", "val", "valid", "validation", "ground_truth")
)
"""Folder names that other layouts use: they are no classes."""


def fits(folder: Path) -> bool:
    """Return whether the sub-folders hold pictures and none has a name that means something else."""
    below = folders(folder)
    if {path.name.lower() for path in below} & NO_CLASSES:
        return False
    return any(pictures(path) or any(pictures(part) for part in folders(path)) for path in below)


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return every picture with its folder's name as label.

    Raises:
        DataError: If a class has no picture, or it is not clear which folder holds sound parts.
        OptionError: If ``good`` names a folder that is not there.
    """
    below = folders(folder)
    sound = good_names([path.name for path in below], good, str(folder))
    samples = [sample for path in below for sample in _samples(path, GOOD if path.name in sound else path.name)]
    return Found(tuple(samples), empty_classes(below))


def empty_classes(below: Sequence[Path]) -> tuple[str, ...]:
    """Warn of classes without a picture.

    Raises:
        DataError: If none has any.
    """
    empty = [path.name for path in below if not pictures_below(path)]
    if len(empty) == len(below):
        raise DataError(f"{below[0].parent if below else 'the folder'}: no pictures in its class folders.")
    return tuple(f"The class folder '{name}' is empty: the class is left out." for name in empty)


def _samples(folder: Path, label: str) -> list[Sample]:
    return [
        Sample(path, label, group="" if path.parent == folder else path.parent.relative_to(folder.parent).as_posix())
        for path in pictures_below(folder)
    ]
