"""Where the camera is in its lane, and how the lane bends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.vision.results import Ego, Lane

Values = npt.NDArray[np.float64]

_NARROWEST, _WIDENING = 0.15, 1.2
"""Rows in which the lane is narrower than this share of its greatest width say too little, and so do all rows together
in which it does not widen by this factor: there is no depth in them."""
_LEAST_ROWS = 5


def ego(
    lanes: Sequence[Lane], size: tuple[int, int], lane_width: float | None = None, focal: float | None = None
) -> Ego | None:
    """Return where the camera is, None without both lines.

    In a row where the lane is ``w`` pixels wide it is ``z = f * W / w`` away (pinhole camera, ``f`` its focal length in
    pixels, ``W`` the lane's width), and what lies ``u`` pixels right of the camera's middle lies ``u / w`` widths to
    the right. The lane's middle is ``a + b / w + c / w**2`` widths to the right: a parabola in ``z`` with the curvature
    ``2 c / (f**2 W)`` (Dickmanns and Mysliwetz 1992, "Recursive 3-D road and relative ego-state recognition", IEEE
    PAMI 14: a road as a parabola on a plane). The offset is taken at the lower edge of the frame.

    Args:
        lanes: Lines in pixels of the frame.
        size: (width, height) of the frame.
        lane_width: Metres from line to line, above 0.
        focal: Focal length as a share of the frame's width: ``1 / (2 tan(horizontal angle of view / 2))``.
    """
    lines = {lane.side: lane.points for lane in lanes}
    if len(lines) < 2:
        return None
    left, right = (_beyond(lines[side], float(size[1])) for side in ("left", "right"))
    if right <= left:
        return None
    offset = (size[0] / 2 - (left + right) / 2) / (right - left)
    metres = None if lane_width is None else offset * lane_width
    parabola = _parabola(lines["left"], lines["right"], size[0] / 2)
    if parabola is None:
        return Ego(offset, None, metres)
    quadratic, farthest = parabola
    curvature = 2 * quadratic / ((focal * size[0]) ** 2 * lane_width) if lane_width and focal else None
    return Ego(offset, quadratic * farthest**2, metres, curvature)


def _beyond(points: Values, y: float) -> float:
    """Return the column of a line in row ``y``, on along its lowest quarter where it ends above."""
    near = points[: max(2, len(points) // 4)]
    slope = (near[-1, 0] - near[0, 0]) / (near[-1, 1] - near[0, 1])
    return float(near[0, 0] + slope * (y - near[0, 1]))


def _parabola(left: Values, right: Values, middle: float) -> tuple[float, float] | None:
    """Return ``c`` of the lane's middle and the largest ``1 / w`` it was seen at, None where it is seen too little.

    Rows count by how exactly they tell the middle: by the lane's width there.
    """
    y = left[(left[:, 1] >= right[:, 1].min()) & (left[:, 1] <= right[:, 1].max()), 1]
    first, second = (np.interp(y, line[::-1, 1], line[::-1, 0]) for line in (left, right))
    wide = second - first
    keep = wide > _NARROWEST * wide.max(initial=0.0)
    width = wide[keep]
    if len(width) < _LEAST_ROWS or width.max() < _WIDENING * width.min():
        return None
    beside = ((first + second)[keep] / 2 - middle) / width
    powers = np.stack([np.ones_like(width), 1 / width, 1 / width**2], axis=1)
    # The powers are brought to sizes near 1, so that none is lost in rounding.
    sizes = powers.max(axis=0)
    coefficients = np.linalg.lstsq(powers / sizes * width[:, None], beside * width, rcond=None)[0] / sizes
    return float(coefficients[2]), float(1 / width.min())
