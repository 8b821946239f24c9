"""Pictures larger than the model's input, run in tiles at full resolution.

Tiles lie side by side from the upper left corner on and overlap; the last of a row or column ends with the picture and
overlaps more. What maps say of a pixel that several tiles see is the largest value of each channel: a defect on a
border is found if one tile finds it, and where two find a part of it each, the parts meet. Of vectors there is one row
a tile, for the task to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError
from edgecnn.manifest import OutputContract

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.generic]
Run = Callable[[Image], Sequence[Array]]
"""From a picture (H, W, C) to all outputs with their batch axis: maps (1, H, W, C), vectors (1, C)."""

TASKS = ("defect", "anomaly", "segment")
"""Tasks whose decisions about tiles make one about the whole picture."""
ALIGNED = 16
"""Tiles begin at multiples of this: maps up to 16 times smaller than the input are put together without rounding."""


@dataclass(frozen=True)
class Tiling:
    """Cuts pictures into tiles, and puts outputs together.

    Attributes:
        size: Height and width of a tile, the model's input.
        overlap: Least overlap of two neighbours in pixels, less than a tile's side. A defect up to this size is whole
            in at least one tile.
    """

    size: tuple[int, int]
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < min(self.size):
            raise OptionError(
                f"tiles must overlap by 0 to {min(self.size) - 1} pixels, less than the model's input {self.size}; got "
                f"{self.overlap}. Give another --overlap."
            )

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the upper left corners (row, column) of the tiles of a picture at least as large as one."""
        rows, columns = (_begins(*pair, self.overlap) for pair in zip((height, width), self.size, strict=True))
        return list(product(rows, columns))

    def cut(self, picture: Image) -> list[Image]:
        """Return the tiles of a picture (H, W, C), row by row, each (h, w, C) and C-contiguous."""
        height, width = self.size
        return [
            np.ascontiguousarray(picture[row : row + height, column : column + width])
            for row, column in self.corners(*picture.shape[:2])
        ]

    def run(self, run: Run, picture: Image) -> list[Array]:
        """Run a model on every tile of a picture and put its outputs together.

        Returns:
            Maps (1, H, W, C) of the whole picture, and vectors (tiles, C).
        """
        columns = zip(*[run(tile) for tile in self.cut(picture)], strict=True)
        return [self._joined(parts, picture.shape[:2]) for parts in columns]

    def _joined(self, parts: Sequence[Array], size: tuple[int, ...]) -> Array:
        if parts[0].ndim != 4:
            return np.concatenate(parts)
        if len(parts) == 1:
            return parts[0]
        shape = parts[0].shape[1:3]
        places = [self._place(corner, shape) for corner in self.corners(*size)]
        rows, columns = (last + side for last, side in zip(places[-1], shape, strict=True))
        lowest = min(part.min() for part in parts)
        whole = np.full((1, rows, columns, parts[0].shape[3]), lowest, parts[0].dtype)
        for (row, column), part in zip(places, parts, strict=True):
            seen = whole[:, row : row + shape[0], column : column + shape[1]]
            np.maximum(seen, part, out=seen)
        return whole

    def _place(self, corner: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
        """Return where a tile's map lies in the whole picture's: the corner, rounded to the map's pixels."""
        row, column = ((2 * at * own + of) // (2 * of) for at, own, of in zip(corner, shape, self.size, strict=True))
        return row, column


def refusal(task: str, outputs: Sequence[OutputContract]) -> str:
    """Say why what a model says about tiles cannot be put together, empty if it can."""
    if task not in TASKS:
        return f"only the tasks {', '.join(TASKS)} say of tiles what can be said of the whole, not '{task}'"
    scores = [output.tensor.quant is not None and output.layout in ("NHWC", "NC") for output in outputs]
    return "" if all(scores) else "only maps and vectors of scores can be put together, not class indices"


def tiled(run: Run, tiling: Tiling | None) -> Run:
    """Return what runs a model on pictures in tiles, or ``run`` itself where there is no tiling."""
    return run if tiling is None else partial(tiling.run, run)


def _begins(length: int, tile: int, overlap: int) -> list[int]:
    step = tile - overlap
    step = step // ALIGNED * ALIGNED or step
    return [*range(0, length - tile, step), length - tile]
