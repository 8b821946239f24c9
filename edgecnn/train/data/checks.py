"""Every file is opened once before training: what is unusable is skipped with its reason, what is odd is said.

A picture is decoded by the reader that the device uses, so what that one refuses (16 bits, cut off) is found here, and
not in the middle of training. In the same pass its size, a digest of its pixels and its thumbnail are taken.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecnn.errors import DataError
from edgecnn.train.data.duplicates import Thumbnail, thumbnail
from edgecnn.train.data.loading import load_image, load_lanes, load_mask
from edgecnn.train.data.samples import GOOD, Sample, Skipped

DEFECT = "defect"
"""The label of a defective part where masks alone tell good from defective."""
Progress = Callable[[int, int], None]
Look = Callable[[Sample], Sample]
_THREADS = 4


@dataclass(frozen=True)
class Checked:
    """A usable sample, and what was seen while it was open.

    Attributes:
        sample: With size, label and digest filled in.
        thumbnail: See `duplicates`.
        unmarked: Whether its mask was dropped: it is called defective, but the mask marks nothing.
    """

    sample: Sample
    thumbnail: Thumbnail
    unmarked: bool


def check(
    samples: Sequence[Sample], task: str, folder: Path, progress: Progress | None = None
) -> tuple[list[Checked], list[Skipped]]:
    """Open all pictures and masks.

    Args:
        samples: What a layout found.
        task: What they are for, one of `reading.TASKS`.
        folder: What names in messages are relative to.
        progress: Called with how many are done, and of how many.

    Returns:
        The usable ones in their order, and the others with the reason.
    """
    checked, skipped = [], []
    look = _check_lane if task == "lane" else _check_part
    for done, (sample, result) in enumerate(_all_checked(samples, look), start=1):
        if isinstance(result, Checked):
            checked.append(result)
        else:
            skipped.append(Skipped(name_of(sample, folder), result))
        if progress is not None:
            progress(done, len(samples))
    contradicted = _contradictions(checked, folder)
    kept = [item for item in checked if item.sample not in contradicted]
    return kept, skipped + [Skipped(name_of(sample, folder), why) for sample, why in contradicted.items()]


def name_of(sample: Sample, folder: Path) -> str:
    """Return the path of a sample's picture below the folder."""
    return sample.image.relative_to(folder).as_posix()


def _all_checked(samples: Sequence[Sample], look: Look) -> Iterator[tuple[Sample, Checked | str]]:
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "edgecnn-data")
    try:
        yield from zip(samples, pool.map(lambda sample: _check(sample, look), samples), strict=True)
    finally:
        # Ctrl-C must not wait for thousands of files.
        pool.shutdown(cancel_futures=True)


def _check(sample: Sample, look: Look) -> Checked | str:
    """Return the sample with what was seen, or why it cannot be used."""
    try:
        _check_files(sample)
        picture = load_image(sample)
        seen = look(replace(sample, size=(picture.shape[0], picture.shape[1])))
    except DataError as error:
        return str(error)
    digest = hashlib.blake2b(f"{picture.shape}".encode() + picture.tobytes(), digest_size=16).hexdigest()
    return Checked(replace(seen, digest=digest), thumbnail(picture), sample.mask is not None and seen.mask is None)


def _check_files(sample: Sample) -> None:
    """Refuse what is no file: reading a device or a pipe would not end.

    Raises:
        DataError: If a file is not there.
    """
    for path in (sample.image, sample.mask):
        try:
            if path is not None and not path.is_file():
                raise DataError(f"{path}: there is no such file.")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _check_part(sample: Sample) -> Sample:
    """Return a picture of a part with its label, without a mask that contradicts it.

    Raises:
        DataError: If the mask cannot be used, or marks something on a good part.
    """
    if sample.mask is None:
        return sample
    mask = load_mask(sample)
    marked = 0 if mask is None else int(np.count_nonzero(mask))
    if sample.label is None:
        return replace(sample, label=DEFECT if marked else GOOD)
    if sample.label == GOOD and marked:
        raise DataError(f"it is in a folder of good parts, but its mask marks {marked} pixels as defective.")
    return sample if marked or sample.label == GOOD else replace(sample, mask=None)


def _check_lane(sample: Sample) -> Sample:
    """Return a road frame as it is.

    Raises:
        DataError: If its mask or its lines do not fit it.
    """
    load_lanes(sample)
    lowest = max((y for line in sample.lanes or () for _, y in line), default=0.0)
    if lowest > sample.size[0] + 1:
        raise DataError(
            f"its lines reach down to y = {lowest:g}, but it is {sample.size[0]} pixels high: the labels are those of "
            "a larger picture."
        )
    return sample


def _contradictions(checked: Sequence[Checked], folder: Path) -> dict[Sample, str]:
    """Return the pictures that are there more than once with different labels, and with what."""
    first: dict[str, Sample] = {}
    found: dict[Sample, str] = {}
    for sample in (item.sample for item in checked):
        other = first.setdefault(sample.digest, sample)
        if other.label != sample.label:
            for one, two in ((sample, other), (other, sample)):
                found[one] = (
                    f"labelled '{one.label}', but the same picture is labelled '{two.label}': {name_of(two, folder)}"
                )
    return found
