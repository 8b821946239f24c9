"""Pictures without content. Looked for in every frame, so it may cost next to nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn.runtime.health.features import sample_rows

Image = npt.NDArray[np.uint8]

BLACK = 20
"""A value up to this is black: limited-range video has black at 16, and a covered sensor makes some noise."""
WHITE = 245
"""A value from this on is white: a sensor at its limit makes some noise too, and video has white at 235 or 255."""
SHARE = 0.02
"""Values that may be otherwise: hot pixels, a camera's clock."""


def has_content(picture: Image) -> bool:
    """Tell whether more than `SHARE` of the values lie between black and white: then it is neither. One look is enough.

    False does not say that it is blank: half of it may be black, and half white.
    """
    rows = sample_rows(picture)
    # Below black the difference wraps around to the largest values: one comparison tells both sides.
    between = np.subtract(rows, BLACK + 1, dtype=np.uint8) < WHITE - BLACK - 1
    return int(np.count_nonzero(between)) > SHARE * rows.size


def is_black(picture: Image) -> bool:
    """Tell whether all but `SHARE` of the values of a picture (H, W, C) are black."""
    rows = sample_rows(picture)
    return int(np.count_nonzero(rows > BLACK)) <= SHARE * rows.size


def is_saturated(picture: Image) -> bool:
    """Tell whether all but `SHARE` of the values of a picture (H, W, C) are white."""
    rows = sample_rows(picture)
    return int(np.count_nonzero(rows < WHITE)) <= SHARE * rows.size
