"""What the page shows of an evaluation: flipped pictures as thumbnails, and scores of both models in a drawing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edgecnn.errors import DataError
from edgecnn.report import charts
from edgecnn.report.document import Report
from edgecnn.runtime.evaluation.decisions import flipped, is_flipped, who_is_right
from edgecnn.runtime.evaluation.labelled import PASS, REJECT
from edgecnn.runtime.evaluation.section import DecisionsSection, Interval, PictureRow
from edgecnn.vision.read import Image, read_image

THUMBNAIL = 96
"""Longer side of a thumbnail in pixels."""
MOST_THUMBNAILS = 48
MOST_BYTES = 400_000
"""Of all thumbnails together, as they stand in the page."""
LONG_LIST = 500
"""Flipped pictures that are named in the page; the document has all of them."""
_QUALITY = 80
_KINDS = {REJECT: "defective", PASS: "sound", None: "unknown"}
_RIGHT = {
    "float": "float is right, INT8 is wrong",
    "int8": "INT8 is right, float is wrong",
    "neither": "both are wrong",
    "unknown": "no label",
}


@dataclass(frozen=True)
class Flip:
    """A picture that INT8 decides differently.

    Attributes:
        name: Its path below the folder.
        right: Whose decision is right: ``float``, ``int8``, ``neither`` or ``unknown``.
        remark: The same in words.
        before: What float decides.
        after: What INT8 decides.
        label: The right decision, a dash where it is not known.
        source: The thumbnail as a data URI; empty where there is none.
    """

    name: str
    right: str
    remark: str
    before: str
    after: str
    label: str
    source: str


@dataclass(frozen=True)
class Point:
    """A picture in the drawing of scores, 100 by 100, with (0, 0) top left: float to the right, INT8 upwards."""

    x: float
    y: float
    kind: str
    flipped: bool
    label: str


@dataclass(frozen=True)
class Scores:
    """Scores of float and INT8; thresholds are positions on the axes: float's from the left, INT8's from the top."""

    points: tuple[Point, ...]
    threshold_x: float
    threshold_y: float
    suggested_y: float | None


def thumbnails(section: DecisionsSection, files: Mapping[str, Path]) -> dict[str, str]:
    """Return the first flipped pictures as small JPEGs in data URIs, by the picture's name.

    Args:
        section: The evaluation.
        files: Paths of pictures by the name they have in the section; what is not there or cannot be read has none.
    """
    found: dict[str, str] = {}
    left = MOST_BYTES
    for row in flipped(section["pictures"])[:MOST_THUMBNAILS]:
        path = files.get(row["picture"])
        text = None if path is None else _thumbnail(path)
        if text is None or len(text) > left:
            continue
        found[row["picture"]] = text
        left -= len(text)
    return found


def _thumbnail(path: Path) -> str | None:
    try:
        picture = read_image(path)
    except DataError:
        return None
    if picture.ndim == 3 and picture.shape[2] not in (1, 3):
        return None
    done, data = cv2.imencode(".jpg", _small(picture), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}" if done else None


def _small(picture: Image) -> Image:
    height, width = picture.shape[:2]
    factor = THUMBNAIL / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # The mean over the pixels that become one: what looks best when it becomes small.
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(picture.dtype)


def shown(report: Report, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page's part on decisions needs beside the section itself; empty without one.

    Args:
        report: The document.
        sources: What `thumbnails` returned.
    """
    section = report.get("decisions")
    if section is None:
        return {}
    rows = flipped(section["pictures"])
    flips = [_flip(row, sources.get(row["picture"], "")) for row in rows[:LONG_LIST]]
    return {
        "pictured": [flip for flip in flips if flip.source],
        "named": [flip for flip in flips if not flip.source],
        "more": len(rows) - len(flips),
        "count": len(rows),
        "scores": scores(section),
        "shares": _shares(section),
    }


def _shares(section: DecisionsSection) -> list[tuple[str, Interval, charts.Interval]]:
    """Return both shares of right decisions with their places on one axis; empty without labels."""
    found = section["accuracy"]
    if found is None:
        return []
    shares = [(name, share) for name, share in (("float", found["float"]), ("INT8", found["int8"])) if share]
    first = charts.axis(*(share for _, share in shares))
    return [(name, share, charts.interval(share, first)) for name, share in shares]


def _flip(row: PictureRow, source: str) -> Flip:
    before, after = (_words(row, which) for which in ("float", "int8"))
    right = who_is_right(row)
    return Flip(row["picture"], right, _RIGHT[right], before, after, row["label"] or "–", source)


def _words(row: PictureRow, which: str) -> str:
    """Return a decision with its score; of masks how much they overlap."""
    if row["overlap"] is not None:
        return f"overlap {row['overlap']['iou']:.3f}" if which == "int8" else "mask"
    found = row["float"] if which == "float" else row["int8"]
    if found is None:
        return "–"
    return found["decision"] if found["score"] is None else f"{found['decision']} {found['score']:.3f}"


def scores(section: DecisionsSection) -> Scores | None:
    """Place the scores of both models; None where the task has no threshold that both are compared with.

    Pictures at the same half per cent, of the same kind, are drawn once.
    """
    inspected = section["inspection"]
    threshold = None if inspected is None else inspected["int8"]["threshold"]
    if inspected is None or threshold is None:
        return None
    places: dict[tuple[float, float, str, bool], list[str]] = {}
    for row in section["pictures"]:
        before, after = row["float"], row["int8"]["score"]
        if before is not None and before["score"] is not None and after is not None:
            place = (round(before["score"] * 200) / 2, 100 - round(after * 200) / 2)
            places.setdefault((*place, _KINDS.get(row["label"], "unknown"), is_flipped(row)), []).append(row["picture"])
    points = tuple(Point(*key, _several(names)) for key, names in sorted(places.items(), key=lambda item: item[0][3]))
    suggested = None if inspected["suggested"] is None else inspected["suggested"]["threshold"]
    of_float = (inspected["float"] or inspected["int8"])["threshold"] or threshold
    return Scores(points, 100 * of_float, 100 - 100 * threshold, None if suggested is None else 100 - 100 * suggested)


def _several(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
