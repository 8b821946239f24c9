"""The layout of MVTec AD: ``train/good``, ``test/<defect>``, ``ground_truth/<defect>/x_mask.png``.

Source: P. Bergmann et al., MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import OptionError
from edgecnn.train.data.layouts._found import Found, folders, pictures
from edgecnn.train.data.layouts._masks import paired
from edgecnn.train.data.layouts.class_folders import empty_classes
from edgecnn.train.data.samples import GOOD, Sample

TASKS = ("defect", "anomaly")
LOOKS = """train/good/000.png                sound parts
test/good/000.png, test/hole/000.png
ground_truth/hole/000_mask.png    grey: 0 sound, 255 defective"""


def fits(folder: Path) -> bool:
    """Return whether there are ``train/good`` and ``test``."""
    return (folder / "train" / GOOD).is_dir() and (folder / "test").is_dir()


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return the pictures of both parts.

    For ``anomaly`` nothing of ``test/`` may be learned from. For ``defect`` it must, since there are no defects
    elsewhere.

    Raises:
        DataError: If there are no pictures.
        OptionError: If ``good`` is another name than ``good``, which this layout prescribes.
    """
    if set(good) - {GOOD}:
        raise OptionError(f"good={good[0]}: in this layout sound parts are always in folders called '{GOOD}'.")
    pairs, orphans = paired(folder / "test", folder / "ground_truth")
    learned = [Sample(path, GOOD) for path in pictures(folder / "train" / GOOD)]
    tested = [
        Sample(path, path.relative_to(folder / "test").parts[0], mask, trainable=task != "anomaly")
        for path, mask in pairs
        if path.parent != folder / "test"
    ]
    warnings = empty_classes([folder / "train" / GOOD, *folders(folder / "test")])
    if task == "defect":
        warnings += (
            f"All defects are in test/: its {len(tested)} pictures are learned from and split like all others.",
        )
    return Found((*learned, *tested), warnings, tuple(orphans))
