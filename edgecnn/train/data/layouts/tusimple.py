"""TuSimple's lane labels: lines of JSON with ``lanes``, ``h_samples`` and ``raw_file``; the clip is the group.

Source: TuSimple lane detection challenge, 2017, description of the label format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgecnn import limits
from edgecnn.boundary import boundary, described, read_bytes
from edgecnn.errors import DataError
from edgecnn.train.data.layouts._found import Found, inside, unknown_videos, video_of
from edgecnn.train.data.samples import Line, Sample, Skipped

TASKS = ("lane",)
LOOKS = """label_data_0313.json      rows: {"lanes": [[-2, 632]], "h_samples": [240, 250], "raw_file": "clips/1/20.jpg"}
clips/0313-1/6040/20.jpg  the frame; what is in one folder stays together"""
_LONGEST = 1 << 20
_KEYS = ("lanes", "h_samples", "raw_file")


def fits(folder: Path) -> bool:
    """Return whether a JSON file in the folder begins with such a line."""
    return bool(_label_files(folder))


def find(folder: Path, task: str, good: Sequence[str]) -> Found:
    """Return the labelled frames. Files called ``test...`` are left out where there are others.

    Raises:
        DataError: If a file cannot be read, or names pictures outside the folder.
    """
    files = _label_files(folder)
    tests = [path for path in files if path.name.startswith("test")]
    used = files if len(tests) == len(files) else [path for path in files if path not in tests]
    samples: dict[Path, Sample] = {}
    skipped = []
    for path in used:
        for number, line in _lines(path):
            where = f"{path.name}, line {number}"
            sample = _sample(line, folder, path)
            if isinstance(sample, str) or sample.image in samples:
                skipped.append(Skipped(where, sample if isinstance(sample, str) else "its picture is labelled already"))
            else:
                samples[sample.image] = sample
    left = [path.name for path in tests if path not in used]
    warnings = (f"{', '.join(left)}: left out, they are for testing.",) if left else ()
    found = tuple(samples.values())
    return Found(found, warnings + unknown_videos(found, "no folder is named"), tuple(skipped))


def _label_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if _begins_well(path)]


def _begins_well(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as stream:
            first = json.loads(stream.readline(_LONGEST))
    except Exception:  # whatever it is, it is no file of labels
        return False
    return isinstance(first, dict) and set(_KEYS) <= set(first)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    content = read_bytes(path, limits.TABLE, DataError)
    with boundary(DataError, f"{path}: expected lines of JSON in UTF-8"):
        text = content.decode()
    yield from ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _sample(line: str, folder: Path, path: Path) -> Sample | str:
    """Return what one line says, or what is wrong with it."""
    try:
        entry = json.loads(line)
        lanes, heights, name = (entry[key] for key in _KEYS)
        lines = tuple(_line(lane, heights) for lane in lanes)
    except Exception as error:
        return f"expected an object with {', '.join(_KEYS)}: {described(error)}"
    if not isinstance(name, str):
        return f"expected a path in raw_file, got {name!r}"
    image = inside(folder, name, path)
    return Sample(image, None, lanes=lines, group=video_of(image, folder))


def _line(lane: Any, heights: Any) -> Line:
    """Return the points of one lane that are seen; a negative x means that it is not seen at that height.

    Raises:
        TypeError, ValueError: If these are not two lists of numbers of the same length.
    """
    points = [(float(x), float(y)) for x, y in zip(lane, heights, strict=True)]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a coordinate is not finite")
    return tuple(point for point in points if point[0] >= 0)
