"""Road frames and masks of the own lane's lines, named by a table ``labels.csv`` or paired by their paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import DataError
from edgecnn.train.data.layouts._found import Found, inside, unknown_videos
from edgecnn.train.data.layouts._masks import paired
from edgecnn.train.data.layouts._table import columns, read_table
from edgecnn.train.data.samples import Sample, Skipped

TASKS = ("lane",)
LOOKS = """labels.csv       columns image, mask and source (the video that a frame is from), paths relative to the table
images/1.jpg     without a table: pictures and masks of the same names; images/<video>/1.jpg names the video
masks/1.png      grey: 0 background, 1 left dashed, 2 left solid, 3 right dashed, 4 right solid, 5 left, 6 right"""
TABLE = "labels.csv"


def fits(folder: Path) -> bool:
    """Return whether there is a table of masks, or the folders ``images`` and ``masks``."""
    named = {"image", "mask"} <= set(columns(folder / TABLE))
    return named or ((folder / "images").is_dir() and (folder / "masks").is_dir())


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return the frames with their masks; the video is the group.

    Raises:
        DataError: If the table cannot be read or names files outside the folder.
    """
    table = folder / TABLE
    return _from_table(table, folder) if table.is_file() else _from_folders(folder)


def _from_table(table: Path, folder: Path) -> Found:
    rows = read_table(table)
    if not rows or not {"image", "mask"} <= set(rows[0]):
        raise DataError(
            f"{table}: expected the columns image, mask and source, got {list(rows[0]) if rows else 'no row'}."
        )
    samples: dict[Path, Sample] = {}
    skipped = []
    for number, row in enumerate(rows, start=2):
        image, mask = (inside(folder, row[name], table) if row[name] else None for name in ("image", "mask"))
        if image is None or mask is None or image in samples:
            why = "its image is named above already" if image and mask else "it names no image or no mask"
            skipped.append(Skipped(f"{table.name}, line {number}", why))
        else:
            samples[image] = Sample(image, None, mask, group=row.get("source", ""))
    found = tuple(samples.values())
    return Found(found, unknown_videos(found, "no 'source' in the table"), tuple(skipped))


def _from_folders(folder: Path) -> Found:
    images = folder / "images"
    pairs, skipped = paired(images, folder / "masks")
    samples = []
    for path, mask in pairs:
        parts = path.relative_to(images).parts[:-1]
        if mask is None:
            skipped.append(Skipped(path.relative_to(folder).as_posix(), "it has no mask of the same name in masks/"))
        else:
            samples.append(Sample(path, None, mask, group="/".join(parts)))
    return Found(tuple(samples), unknown_videos(samples, "images/ has no folders of videos"), tuple(skipped))
