"""CULane: points of every lane in ``x.lines.txt`` beside ``x.jpg``, named by lists; the video's folder is the group.

Source: X. Pan et al., Spatial As Deep: Spatial CNN for Traffic Scene Understanding, AAAI 2018, and its data's README.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import DataError
from edgecnn.train.data.layouts._found import Found, inside, unknown_videos, video_of
from edgecnn.train.data.samples import Line, Sample, Skipped
from edgecnn.vision.read import EXTENSIONS

TASKS = ("lane",)
LOOKS = """driver_1/video_2.MP4/00000.jpg        what is in one folder stays together
driver_1/video_2.MP4/00000.lines.txt  a lane line a row: x y x y ...
list/train.txt                        paths of pictures; without lists all that have a .lines.txt are read"""
_LINES = ".lines.txt"


def fits(folder: Path) -> bool:
    """Return whether there is a file of lane lines anywhere below."""
    return next(folder.rglob(f"*{_LINES}"), None) is not None


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return the labelled frames. Lists called ``test...`` are left out where there are others.

    Raises:
        DataError: If a list cannot be read, or names pictures outside the folder.
    """
    lists = sorted((folder / "list").glob("*.txt"))
    tests = [path for path in lists if path.name.startswith("test")]
    used = lists if len(tests) == len(lists) else [path for path in lists if path not in tests]
    images = (
        {image: None for path in used for image in _listed(path, folder)} if used else dict.fromkeys(_beside(folder))
    )
    found = [_sample(image, folder) for image in images]
    left = [path.name for path in tests if path not in used]
    warnings = (f"{', '.join(left)}: left out, they are for testing.",) if left else ()
    samples = tuple(item for item in found if isinstance(item, Sample))
    return Found(
        samples,
        warnings + unknown_videos(samples, "no folder is named"),
        tuple(item for item in found if isinstance(item, Skipped)),
    )


def _listed(path: Path, folder: Path) -> list[Path]:
    """Return the pictures that a list names: the first word of each row."""
    return [inside(folder, row.split()[0], path) for row in _text(path).splitlines() if row.strip()]


def _beside(folder: Path) -> list[Path]:
    """Return the pictures that have a file of lines."""
    found = []
    for path in sorted(folder.rglob(f"*{_LINES}")):
        stem = path.name.removesuffix(_LINES)
        named = [path.with_name(stem + extension) for extension in EXTENSIONS]
        found.append(next((image for image in named if image.is_file()), named[0]))
    return found


def _sample(image: Path, folder: Path) -> Sample | Skipped:
    name, path = image.relative_to(folder).as_posix(), image.with_suffix(_LINES)
    try:
        rows = [row.split() for row in _text(path).splitlines() if row.strip()]
        lines = tuple(_line([float(value) for value in row]) for row in rows)
    except (DataError, ValueError) as error:
        return Skipped(name, f"its lines cannot be read: {error}")
    return Sample(image, None, lanes=lines, group=video_of(image, folder))


def _line(values: Sequence[float]) -> Line:
    """Return the points of one row; those left of the picture are dropped.

    Raises:
        ValueError: If the values are no pairs or not finite.
    """
    if len(values) % 2 or not all(map(math.isfinite, values)):
        raise ValueError(f"expected pairs of numbers, got {len(values)} values")
    return tuple(point for point in zip(values[::2], values[1::2], strict=True) if point[0] >= 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error
