"""Lanes: the lines to the left and right of the camera as curves, solid or dashed.

The first output is a map (1, H, W, 4): is this pixel the middle of a left dashed, left solid, right dashed, right solid
marking. ``decoding`` of the bundle may say ``mark_threshold``, the probability from which a pixel shows one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision.lanes import curve, evidence
from edgecnn.vision.lanes.curve import Curves, Flags
from edgecnn.vision.lanes.evidence import KINDS, SIDES, Evidence
from edgecnn.vision.results import Decision, Lane, Output, Points
from edgecnn.vision.tasks import Decode

MARK_THRESHOLD = 0.5
_LEAST, _ENOUGH = 4 / 96, 16 / 96
"""Share of the rows that must show a line, and from which on its score is no longer lowered."""
_APART = 2 / 160
"""Where lines are nearer to each other than this share of the map's width, they meet."""

Rows = tuple[int, int]


def decoder(manifest: Manifest) -> Decode:
    """Return `decode` for a bundle."""
    return functools.partial(decode, manifest=manifest)


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Return the lines that were found, left before right, in pixels of the model's picture.

    A line goes from its highest marking down to the lowest marking of either line, gaps included; where both meet they
    end. Its score is the mean probability of its markings, lowered where they are few.

    Raises:
        DataError: If the first output is no such map.
    """
    found = _find(outputs, manifest)
    lines = (_line(found, side) for side in range(2))
    return Decision(lanes=tuple(line for line in lines if line is not None))


def marks(outputs: Sequence[Output], manifest: Manifest) -> dict[str, Points]:
    """Return the middles of the markings that make up the lines: what is painted, without gaps.

    Returns:
        By side, (N, 2), (x, y) in pixels of the model's picture; empty where there is no line.

    Raises:
        DataError: If the first output is no such map.
    """
    found = _find(outputs, manifest)
    places = np.stack([found.evidence.x, np.broadcast_to(found.evidence.y, found.evidence.x.shape)], axis=2)
    return {name: places[side][found.holds[side]] * found.scale for side, name in enumerate(SIDES)}


@dataclass(frozen=True)
class _Found:
    """What was found in a map; arrays are (2, H), left before right.

    Attributes:
        evidence: Where markings were seen.
        x: Columns of the lines.
        holds: Rows whose marking belongs to its line; none where there is no line.
        scale: Pixels of the model's picture per pixel of the map, (x, y).
    """

    evidence: Evidence
    x: npt.NDArray[np.float64]
    holds: Flags
    scale: npt.NDArray[np.float64]


def mark_threshold(manifest: Manifest) -> float:
    """Return the probability from which a pixel shows a marking.

    Raises:
        DataError: If the bundle names none that can be.
    """
    given = manifest.decoding.get("mark_threshold", MARK_THRESHOLD)
    if not isinstance(given, float) or not 0 < given < 1:
        raise DataError(f"'decoding.mark_threshold' must be a probability between 0 and 1, got {given!r}.")
    return float(given)


def _find(outputs: Sequence[Output], manifest: Manifest) -> _Found:
    found = evidence.find(outputs[0], mark_threshold(manifest))
    curves = curve.fit(found)
    (height, width), scale = manifest.input.size, np.array([found.width, len(found.y)])
    return _Found(found, curves.x, _parted(found, curves), np.array([width, height]) / scale)


def _parted(found: Evidence, curves: Curves) -> Flags:
    """Return the markings that belong to lines that do not meet."""
    meet = curves.x[1] - curves.x[0] < _APART * found.width
    holds = curves.holds.copy()
    first, last = _span(holds)
    # Beyond where both lines meet nothing can be said of either.
    top = max(first)
    common = np.flatnonzero(meet[top : min(last)])
    if len(common):
        holds[:, : top + common[-1] + 1] = False
    holds &= (holds.sum(axis=1) >= max(2.0, _LEAST * len(found.y)))[:, None]
    first, last = _span(holds)
    # Where they meet on the way down to the same row, the one with less to show is none.
    if holds.any(axis=1).all() and meet[max(first) : max(last)].any():
        holds[int(np.argmin((found.share * holds).sum(axis=1)))] = False
    return holds


def _span(holds: Flags) -> tuple[list[int], list[int]]:
    """Return the highest rows of both sides, and the ones below their lowest; no row is the first and the last."""
    rows = [np.flatnonzero(side) for side in holds]
    ends = [(int(side[0]), int(side[-1]) + 1) if len(side) else (holds.shape[1], 0) for side in rows]
    return [first for first, _ in ends], [last for _, last in ends]


def _line(found: _Found, side: int) -> Lane | None:
    """Return the line of a side, None where there is none."""
    holds, seen = found.holds[side], found.evidence
    rows = np.flatnonzero(holds)
    if not len(rows):
        return None
    bottom = int(np.flatnonzero(found.holds.any(axis=0))[-1]) + 1
    points = np.stack([found.x[side], seen.y], axis=1)[rows[0] : bottom][::-1]
    points = points[(points[:, 0] >= 0) & (points[:, 0] <= seen.width)] * found.scale
    if len(points) < 2:
        return None
    solid = bool(seen.solid[side][holds].sum() > 0)
    score = float(seen.share[side][holds].mean()) * min(1.0, len(rows) / (_ENOUGH * len(seen.y)))
    return Lane(SIDES[side], KINDS[solid], score, points)
