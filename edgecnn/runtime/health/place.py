"""A fixed patch of the scene, a machine's frame or a rail, that tells whether the camera has moved.

Parts differ, and may fill the whole picture but for a border: then nothing but this border says where the camera looks.
The patch is found in the calibration frames, as the rectangle of cells that are the same in all of them and show most
structure along both axes, or named by the user. It is looked for near its place by normalised cross-correlation, which
does not mind the light (Lewis 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.runtime.health.features import GRID, grey_of

Image = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

LARGEST = 256
"""Longer side of the picture in which it is looked for, pixels."""
_STILL = 6.0
"""Deviation in grey levels, over all frames, up to which a pixel stays the same: noise, and a little flicker."""
_SHARE = 0.95
_LEAST_CELLS, _MOST_CELLS = 2, 6
_STRUCTURE = 5.0
"""Mean square slope along either axis, grey levels per pixel squared, from which a patch shows where it is."""
_SEARCHED = 0.12
"""How far from its place it is looked for, of the picture."""
LEAST_LIKE = 0.4
"""Correlation below which nothing near its place is the patch, whatever calibration frames say."""
_LEEWAY = 0.15


@dataclass(frozen=True)
class Place:
    """The patch.

    Attributes:
        box: int64 (4,): left, top, width and height in the small picture.
        size: int64 (2,): height and width of the small picture.
        patch: uint8 (height, width), what it looks like.
        like: float32 (): the correlation that a good picture has at least.
    """

    box: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    patch: Image
    like: npt.NDArray[np.float32]

    @classmethod
    def of(cls, box: Any, size: Any, patch: Any, like: Any) -> Place:
        """Return what was stored.

        Raises:
            ValueError: If it is no patch of a picture.
        """
        shapes = box.shape, size.shape, patch.ndim, like.shape
        types = [array.dtype.name for array in (box, size, patch, like)]
        if shapes != ((4,), (2,), 2, ()) or types != ["int64", "int64", "uint8", "float32"]:
            raise ValueError(f"got {types}, {shapes}")
        left, top, width, height = box.tolist()
        tall, wide = size.tolist()
        inside = 0 <= left < left + width <= wide <= LARGEST and 0 <= top < top + height <= tall <= LARGEST
        if not inside or patch.shape != (height, width) or not np.isfinite(like):
            raise ValueError(f"{width} x {height} at {left}, {top} of {wide} x {tall}, {patch.shape} stored")
        return cls(box, size, patch, like)

    @classmethod
    def find(cls, pictures: Sequence[Image], box: Box | None = None) -> Place | None:
        """Return the patch of small grey pictures, all of one size, None where there is none.

        Args:
            pictures: See `small`.
            box: Left, top, width and height of the patch, if it is known.
        """
        stack = np.stack(pictures).astype(np.float32)
        mean = stack.mean(axis=0)
        box = box or _steadiest(stack.std(axis=0), mean)
        if box is None:
            return None
        left, top, width, height = box
        patch = np.rint(mean[top : top + height, left : left + width]).astype(np.uint8)
        place = cls(np.array(box, np.int64), np.array(mean.shape, np.int64), patch, np.array(0, np.float32))
        seen = np.array([place.look(picture) for picture in pictures])
        if np.abs(seen[:, 1:]).max() * LARGEST > 2 or seen[:, 0].min() < LEAST_LIKE + _LEEWAY:
            return None
        return cls(place.box, place.size, patch, np.array(seen[:, 0].min() - _LEEWAY, np.float32))

    def look(self, picture: Image) -> tuple[float, float, float]:
        """Return how like the best fit is, -1..1, and how far to the right and down it lies, of width and height.

        Args:
            picture: See `small`; of the size of the calibration's.
        """
        left, top, width, height = self.box.tolist()
        tall, wide = picture.shape
        reach_x, reach_y = int(_SEARCHED * wide) + 1, int(_SEARCHED * tall) + 1
        first_x, first_y = max(0, left - reach_x), max(0, top - reach_y)
        window = picture[first_y : top + height + reach_y, first_x : left + width + reach_x]
        fits = cv2.matchTemplate(window, self.patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, (x, y) = cv2.minMaxLoc(np.nan_to_num(fits, nan=-1.0, posinf=-1.0, neginf=-1.0))
        return float(best), (first_x + x - left) / wide, (first_y + y - top) / tall

    def misfit(self, picture: Image, tolerance: float) -> str:
        """Say what is wrong with a picture, empty if nothing is.

        Args:
            picture: See `small`.
            tolerance: Movement that is accepted, of the picture's width and height.
        """
        if picture.shape != tuple(self.size.tolist()):
            return ""
        like, right, down = self.look(picture)
        if like < float(self.like):
            return (
                f"the fixed patch is not near its place: likeness {like:.2f}, good pictures have at least "
                f"{float(self.like):.2f}"
            )
        if max(abs(right), abs(down)) > tolerance:
            return f"the fixed patch is {100 * right:+.1f} % of the width and {100 * down:+.1f} % of the height away"
        return ""


def small(picture: Image) -> Image:
    """Return the grey picture, uint8 (h, w), in which the patch is looked for."""
    grey = grey_of(picture)
    scale = LARGEST / max(grey.shape)
    if scale >= 1:
        return grey
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _steadiest(deviation: npt.NDArray[Any], mean: npt.NDArray[Any]) -> Box | None:
    """Return the rectangle of still cells that shows most structure along the axis along which it shows less."""
    rows, columns = (np.linspace(0, side, GRID + 1).astype(int) for side in mean.shape)
    slopes = [np.square(cv2.Sobel(mean, cv2.CV_32F, *axis, ksize=3, scale=1 / 8)) for axis in ((1, 0), (0, 1))]
    still = (deviation <= _STILL).astype(np.float32)
    sums = [_integral(values, rows, columns) for values in (still, *slopes)]
    best: tuple[float, Box] | None = None
    for height in range(_LEAST_CELLS, _MOST_CELLS + 1):
        for width in range(_LEAST_CELLS, _MOST_CELLS + 1):
            area = np.multiply.outer(rows[height:] - rows[:-height], columns[width:] - columns[:-width])
            steady, across, along = (_boxes(item, height, width) for item in sums)
            weak = np.minimum(across, along)
            weak = np.where((steady >= _SHARE * area) & (weak >= _STRUCTURE * area), weak, 0)
            top, left = np.unravel_index(int(weak.argmax()), weak.shape)
            if weak[top, left] > (0 if best is None else best[0]):
                x, y = int(columns[left]), int(rows[top])
                box = x, y, int(columns[left + width]) - x, int(rows[top + height]) - y
                best = float(weak[top, left]), box
    return None if best is None else best[1]


def _integral(values: npt.NDArray[Any], rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return sums over all from the first to a cell's border, (GRID + 1, GRID + 1)."""
    sums: npt.NDArray[Any] = np.asarray(cv2.integral(values, sdepth=cv2.CV_64F))[np.ix_(rows, columns)]
    return sums


def _boxes(integral: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Return the sum in every rectangle of so many cells."""
    tall = integral[height:] - integral[:-height]
    sums: npt.NDArray[Any] = tall[:, width:] - tall[:, :-width]
    return sums
