"""What is measured on a picture: few numbers that tell a camera out of order from one that works."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.vision.preprocess import Preprocess

Image = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.floating[Any]]

GRID = 16
"""Cells a side: one is about 6 % of the picture, so that a shift by 5 % moves every cell by most of its width."""
CELLS = GRID * GRID
EDGES = 3
FLAT = 4.0
"""Grey levels: where the cells differ by less than about this, there is noise rather than a layout."""
_SMALLEST_ENERGY = 0.5
SMALLEST_LEVEL = 8.0
_ENOUGH_ROWS = 128
_SAMPLES = 16


@dataclass(frozen=True)
class Measured:
    """What a picture looks like.

    Attributes:
        cells: Grey level of `CELLS` cells, row by row, float32 0..255.
        brightness: Logarithm of the mean grey level.
        blue: Logarithm of blue over green; 0 where the picture has no colours.
        red: The same of red.
        edges: (EDGES,) float32, logarithms of how strong edges are at full size: over the deviation of the cells, over
            the edges of the cells, and over the edges at half the size. Less when blurred, strongly, more or a little;
            more with noise; the same in any light.
    """

    cells: npt.NDArray[np.float32]
    brightness: float
    blue: float
    red: float
    edges: npt.NDArray[np.float32]


def measure(picture: Image) -> Measured:
    """Measure a picture, uint8 (H, W, C): C = 3 is BGR; of any other number the first channel counts as grey.

    Of large pictures every second, third, ... row is looked at, in calibration as in production, to bound the cost.
    """
    rows = picture[:: max(1, picture.shape[0] // _ENOUGH_ROWS)]
    grey = cv2.cvtColor(rows, cv2.COLOR_BGR2GRAY) if picture.shape[2] == 3 else np.ascontiguousarray(rows[..., 0])
    height, width = grey.shape
    half = cv2.resize(grey, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
    cells = cv2.resize(half, (GRID, GRID), interpolation=cv2.INTER_AREA)
    fine, coarse, coarsest = (_energy(item) for item in (grey, half, cells))
    level, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(cells))
    edges = np.log([fine / (deviation + FLAT), fine / coarsest, fine / coarse], dtype=np.float32)
    blue, red = _colour(rows)
    brightness = math.log(level + SMALLEST_LEVEL)
    return Measured(cells.ravel().astype(np.float32), brightness, blue, red, edges)


def normalised(cells: Vector) -> Vector:
    """Return cells (..., CELLS) with mean 0 and deviation about 1: light and contrast are judged elsewhere."""
    centred = cells - np.add.reduce(cells, -1, keepdims=True) / CELLS
    deviation: Vector = np.sqrt(np.add.reduce(centred * centred, -1, keepdims=True) / CELLS)
    return centred / (deviation + FLAT)


def sample_rows(picture: Image) -> Image:
    """Return some rows of a picture (H, W, C), a view: enough to see that it is black."""
    return picture[:: max(1, picture.shape[0] // _SAMPLES)]


def sample_points(picture: Image) -> Image:
    """Return some pixels of a picture (H, W, C), all channels, as a copy of one axis: enough to see that it moves."""
    height, width = picture.shape[:2]
    return picture[:: max(1, height // _SAMPLES), :: max(1, width // _SAMPLES)].flatten()


def seen_part(frame_shape: tuple[int, ...], preprocess: Preprocess | None) -> tuple[slice, slice]:
    """Return the rows and columns of a tensor that show the frame: all but letterbox padding."""
    if preprocess is None or preprocess.resize.mode != "letterbox":
        return slice(None), slice(None)
    geometry = preprocess.geometry(frame_shape[0], frame_shape[1])
    (x, y), (width, height) = geometry.offset, geometry.resized
    return slice(y, y + height), slice(x, x + width)


def _energy(grey: npt.NDArray[Any]) -> float:
    """Return the mean absolute Laplacian, grey levels."""
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    return float(cv2.norm(edges, cv2.NORM_L1)) / grey.size + _SMALLEST_ENERGY


def _colour(picture: Image) -> tuple[float, float]:
    if picture.shape[2] != 3:
        return 0.0, 0.0
    blue, green, red = (math.log(level + SMALLEST_LEVEL) for level in cv2.mean(picture)[:3])
    return blue - green, red - green
