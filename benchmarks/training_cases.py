"""What is trained on and what is tested on: folders as users have them, written from the data for tests."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edgecnn.train.data import GOOD, Dataset, Sample, read, split, split_folds, split_groups

Pair = tuple[Dataset, Dataset]

SEED = 0
HELD_BACK = 0.3
"""Share of the good pictures that inspection from good pictures alone is tested on."""
SOURCES = (
    ("carla_Town04", "yt-5b7U_ZrU6dE"),
    ("test_misc", "yt-K9vHgOmY3gI"),
    ("yt-4yK8XBSUp2M", "yt-zaCMqlJ8GrM", "yt-dZr34jTsV7A", "other"),
)
"""The sources (videos) of road frames that each fold is tested on; it learns from all others."""
TABLE = "labels.csv"


@dataclass(frozen=True)
class Case:
    """One task on one set of pictures.

    Attributes:
        task: What is trained.
        data: Folder of the pictures, below that of all data.
        parts: From the pictures and a number of folds to (training, test) pictures, one pair a fold.
        good: Folder that holds good parts, empty where nothing is inspected.
    """

    task: str
    data: str
    parts: Callable[[Dataset, int], Sequence[Pair]]
    good: str = ""


def defects(dataset: Dataset, folds: int) -> list[Pair]:
    """Part pictures into folds; those that show the same part stay together."""
    return split_folds(dataset, folds, SEED)


def defects_by_image(dataset: Dataset, folds: int) -> list[Pair]:
    """Part pictures into folds one by one, as publications do: pictures of one part are on both sides."""
    return split_folds(dataset.with_samples(replace(item, cluster="") for item in dataset.samples), folds, SEED)


def good_only(dataset: Dataset, folds: int) -> list[Pair]:
    """Train on most good pictures, test on the others and on all defects; there is one such part."""
    good = dataset.with_samples(item for item in dataset.samples if item.label == GOOD)
    training, held_back = split(good, HELD_BACK, SEED)
    defective = (item for item in dataset.samples if item.label != GOOD)
    return [(training, dataset.with_samples([*held_back.samples, *defective]))]


def unseen_sources(dataset: Dataset, folds: int) -> list[Pair]:
    """Hold whole sources back, those of `SOURCES`."""
    return [split_groups(dataset, names) for names in SOURCES]


CASES = {
    "defect": Case("defect", "magnetic-tile", defects, "free"),
    "defect-by-image": Case("defect", "magnetic-tile", defects_by_image, "free"),
    "anomaly": Case("anomaly", "magnetic-tile", good_only, "free"),
    "lane": Case("lane", "lane", unseen_sources),
}


def write_folds(case: Case, data: Path, output: Path, folds: int) -> list[Path]:
    """Write ``fold-N/train`` and ``fold-N/test`` where they are not there yet, and return the folders of all folds."""
    count = len(SOURCES) if case.parts is unseen_sources else 1 if case.parts is good_only else folds
    places = [output / f"fold-{index}" for index in range(count)]
    if not all((place / side).is_dir() for place in places for side in ("train", "test")):
        root = data / case.data
        for place, (training, test) in zip(places, case.parts(read(root, case.task), folds), strict=True):
            write(training, root, place / "train", flat=case.parts is good_only)
            write(test, root, place / "test")
    return places


def write(dataset: Dataset, root: Path, folder: Path, flat: bool = False) -> None:
    """Copy the pictures of a data set, and their masks, to a folder, as they lie in ``root``; whole or not at all.

    Args:
        dataset: What to copy.
        root: The folder that it was read from.
        folder: Where to; one that is there is replaced.
        flat: Put all pictures directly into the folder, and no masks.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    for path in (unfinished, folder):
        shutil.rmtree(path, ignore_errors=True)
    for sample in dataset.samples:
        for path in [sample.image] if flat else filter(None, (sample.image, sample.mask)):
            _copy(path, unfinished / (path.name if flat else path.relative_to(root)))
    if (root / TABLE).is_file() and not flat:
        _write_table(dataset.samples, root, unfinished / TABLE)
    unfinished.rename(folder)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise SystemExit(f"{source}: there is another picture of this name; sub-folders cannot be left out.")
    shutil.copyfile(source, target)


def _write_table(samples: Iterable[Sample], root: Path, table: Path) -> None:
    with table.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("image", "mask", "source"))
        for sample in samples:
            mask = "" if sample.mask is None else sample.mask.relative_to(root)
            rows.writerow((sample.image.relative_to(root), mask, sample.group))


def defective_pixels(folder: Path) -> int:
    """Count the defective pixels in the masks of a folder that `write` wrote."""
    masks = sorted((folder / "masks").rglob("*.png"))
    return sum(int(np.count_nonzero(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) >= 128)) for path in masks)
