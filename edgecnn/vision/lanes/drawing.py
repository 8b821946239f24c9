"""The own lane drawn into a picture: its area, its lines, and where the camera is in it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.vision.results import Ego, Lane

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Line = npt.NDArray[np.int32]

# Okabe and Ito, "Color Universal Design" (2008), as BGR: sky blue, orange and bluish green.
COLOURS: dict[str, Colour] = {"left": (233, 180, 86), "right": (0, 159, 230)}
_AREA: Colour = (115, 158, 0)
_AREA_SHARE = 0.25
_DARK: Colour = (24, 24, 24)
_SHIFT = 4
"""Points are drawn in 16ths of a pixel."""
_MIDDLE = 0.01
"""Widths of the lane from its middle up to which nobody would say that the camera is beside it."""
_DASHES = 9
"""Dashes and gaps that a dashed line is drawn with, of equal height in the picture."""


def draw_lanes(canvas: Image, lanes: Sequence[Lane], scale: tuple[float, float]) -> None:
    """Draw the lines, and the area between them, into a BGR picture in place.

    Args:
        canvas: uint8 (H, W, 3).
        lanes: Lines in pixels of the frame.
        scale: (x, y) pixels of the canvas per pixel of the frame.
    """
    lines = {lane.side: _line(lane, scale) for lane in lanes}
    if len(lines) == len(COLOURS):
        _area(canvas, *lines.values())
    thick = max(2, round(min(canvas.shape[:2]) / 90))
    # A dark line below the bright one can be seen on any road.
    for lane in lanes:
        for piece in _pieces(lines[lane.side], lane.kind):
            cv2.polylines(canvas, [piece], False, _DARK, thick + 2, cv2.LINE_AA, _SHIFT)
            cv2.polylines(canvas, [piece], False, COLOURS[lane.side], thick, cv2.LINE_AA, _SHIFT)


def ego_text(place: Ego) -> str:
    """Return where the camera is, for people, e.g. ``"0.21 m right of the middle"``."""
    if abs(place.offset) < _MIDDLE:
        return "in the middle of the lane"
    side = "right" if place.offset > 0 else "left"
    if place.offset_m is not None:
        return f"{abs(place.offset_m):.2f} m {side} of the middle"
    return f"{abs(place.offset):.0%} of the lane {side} of the middle"


def _line(lane: Lane, scale: tuple[float, float]) -> Line:
    """Return a line's points in 16ths of a pixel; a pixel's centre lies at its index and a half."""
    return np.asarray(np.round((lane.points * scale - 0.5) * (1 << _SHIFT)), np.int32)


def _area(canvas: Image, left: Line, right: Line) -> None:
    """Tint the area between both lines, from the lower end of the shorter one to the upper end of the shorter one."""
    bottom, top = min(left[0, 1], right[0, 1]), max(left[-1, 1], right[-1, 1])
    sides = [line[(line[:, 1] <= bottom) & (line[:, 1] >= top)] for line in (left, right)]
    if any(len(side) < 2 for side in sides):
        return
    tinted = canvas.copy()
    cv2.fillPoly(tinted, [np.concatenate([sides[0], sides[1][::-1]])], _AREA, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(tinted, _AREA_SHARE, canvas, 1 - _AREA_SHARE, 0, dst=canvas)


def _pieces(line: Line, kind: str) -> list[Line]:
    """Return what is drawn of a line: all of it, or its dashes."""
    if kind == "solid" or len(line) < 2 * _DASHES:
        return [line]
    pieces = np.array_split(line, _DASHES)
    return [
        np.concatenate([piece, after[:1]]) for piece, after in zip(pieces[::2], [*pieces[1::2], line[-1:]], strict=True)
    ]
