"""Pictures and masks of their defects: ``images/<class>/x.jpg`` and ``masks/<class>/x.png``, or both flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgecnn.errors import DataError, OptionError
from edgecnn.train.data.layouts._found import Found, folders, good_names, pictures
from edgecnn.train.data.layouts._masks import Pairs, paired
from edgecnn.train.data.layouts.class_folders import empty_classes
from edgecnn.train.data.samples import GOOD, Sample

TASKS = ("defect", "anomaly")
LOOKS = """images/scratch/2.jpg  a folder for each class below images/, or all pictures directly in it
masks/scratch/2.png   grey, of the picture's size: 0 sound, 255 defective; none needed for good parts"""


def fits(folder: Path) -> bool:
    """Return whether there are the folders ``images`` and ``masks``."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return every picture with its mask.

    With class folders the folder's name is the label. Without, the mask says whether a part is good: such samples have
    no label yet.

    Raises:
        DataError: If there are pictures beside class folders, or no pictures, or it is not clear which folder holds
            sound parts.
        OptionError: If ``good`` names a folder that is not there.
    """
    images, masks = folder / "images", folder / "masks"
    below = folders(images)
    if below and pictures(images):
        raise DataError(f"{images}: both pictures and folders ({below[0].name}, ...). Move the pictures into classes.")
    pairs, orphans = paired(images, masks)
    if not below:
        return replace(_flat(pairs, images, good), skipped=tuple(orphans))
    sound = good_names([path.name for path in below], good, str(images))
    samples = [_sample(path, mask, images, sound) for path, mask in pairs]
    return Found(tuple(samples), empty_classes(below), tuple(orphans))


def _flat(pairs: Pairs, images: Path, good: Sequence[str]) -> Found:
    if good:
        raise OptionError(f"good={good[0]} names a folder of good parts, but {images} has no sub-folders.")
    without = sum(mask is None for _, mask in pairs)
    warnings = [f"{without} of {len(pairs)} pictures have no mask: they are taken for good parts."] if without else []
    samples = [Sample(path, None if mask else GOOD, mask) for path, mask in pairs]
    return Found(tuple(samples), tuple(warnings))


def _sample(path: Path, mask: Path | None, images: Path, sound: frozenset[str]) -> Sample:
    parts = path.relative_to(images).parts
    return Sample(path, GOOD if parts[0] in sound else parts[0], mask, group="/".join(parts[:-1]) if parts[2:] else "")
