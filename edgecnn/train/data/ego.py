"""Which of a picture's lane lines bound the own lane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.train.data.samples import Line

_LOWEST = 0.4
"""Share of a line's height, from its lowest point up, that says where it goes on below."""


def ego_lines(lanes: Sequence[Line], size: tuple[int, int]) -> tuple[Line | None, Line | None]:
    """Return the lines left and right of the own lane: the nearest to the picture's middle at its bottom.

    Lines that end above the bottom are drawn on straight down to it.

    Args:
        lanes: All lines, (x, y) in pixels. Those of fewer than two different heights are left out.
        size: Height and width of the picture.
    """
    height, width = size
    reach = [(at_bottom(line, height), line) for line in lanes if len({y for _, y in line}) > 1]
    left = [item for item in reach if item[0] < width / 2]
    right = [item for item in reach if item[0] >= width / 2]
    return max(left)[1] if left else None, min(right)[1] if right else None


def at_bottom(line: Line, height: int) -> float:
    """Return the x at which a line meets the picture's lower edge, extrapolated by least squares over its low end."""
    points = np.array(sorted(line, key=lambda point: -point[1]))
    reach = points[0, 1] - _LOWEST * (points[0, 1] - points[-1, 1])
    near = points[points[:, 1] >= reach] if (points[:, 1] >= reach).sum() > 1 else points[:2]
    x, y = near.T
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / max(((y - y.mean()) ** 2).sum(), 1e-9))
    return float(x.mean() + slope * (height - y.mean()))
