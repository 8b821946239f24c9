"""What is measured on a picture: few numbers that tell a camera out of order from one that works."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
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
EDGES = 5
FLAT = 4.0
"""Grey levels: where the cells differ by less than about this, there is noise rather than a layout."""
_SMALLEST_ENERGY = 0.5
SMALLEST_LEVEL = 8.0
_ENOUGH_ROWS = 128
_SAMPLES = 16
_QUIET = CELLS // 20
"""Cells that are quieter than the one whose grain counts: where parts fill the picture, few show the place itself."""
_SMALLEST_GRAIN, _SMALLEST_TEXTURE = 2.0, 1.0
"""About what noise of half a grey level makes, and less at half the size: fainter things come and go with the quality
of compressed video."""
_STEPS = 8
"""Steps of a grey level in which differences are counted: whole grey levels would be too coarse."""


@dataclass(frozen=True)
class Measured:
    """What a picture looks like.

    Attributes:
        cells: Grey level of `CELLS` cells, row by row, float32 0..255.
        brightness: Logarithm of the mean grey level.
        blue: Logarithm of blue over green; 0 where the picture has no colours.
        red: The same of red.
        edges: (EDGES,) float32, logarithms. How strong edges are at full size: over the deviation of the cells, over
            the edges of the cells, and over the edges at half the size. Less when blurred, strongly, more or a little;
            more with noise; the same in any light. Then grain, more with noise, and texture, less when blurred; both
            depend little on what is in the picture.
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
    ratios = fine / (deviation + FLAT), fine / coarsest, fine / coarse
    edges = np.log([*ratios, _grain(grey), _texture(half)], dtype=np.float32)
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


def _grain(grey: npt.NDArray[Any]) -> float:
    """Return how strong noise is, grey levels: what differs in the quietest cells, whatever is in the others.

    It is not divided by the brightness, for video's gamma makes the noise of light about the same in any light.
    """
    return _differences(grey, _QUIET) + _SMALLEST_GRAIN


def _texture(half: npt.NDArray[Any]) -> float:
    """Return how strong texture is, grey levels: what differs in the median cell, at half the size against noise."""
    return _differences(half, CELLS // 2) + _SMALLEST_TEXTURE


def _differences(grey: npt.NDArray[Any], rank: int) -> float:
    """Return the mean absolute second difference along both axes, in which straight edges vanish (Immerkær 1996).

    Args:
        grey: The picture.
        rank: Which cell's it is, counted from the one that has the least.
    """
    differences = np.abs(cv2.Sobel(grey[_bands(len(grey))], cv2.CV_16S, 2, 2, ksize=3, scale=_STEPS))
    cells = cv2.resize(differences, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()
    return float(np.partition(cells, rank)[rank]) / _STEPS


@lru_cache(maxsize=8)
def _bands(height: int) -> npt.NDArray[np.signedinteger[Any]]:
    """Return half of the rows, to bound the cost: every second eighth, for neighbours are compared.

    It is cut to a multiple of four rows, so that cells have whole rows: averaging parts of them takes twice the time.
    """
    band = max(1, height // 8)
    rows = np.arange(band // 4 * 4 or band)
    return np.concatenate([start + rows for start in range(0, height, 2 * band)[:4]])


def _colour(picture: Image) -> tuple[float, float]:
    if picture.shape[2] != 3:
        return 0.0, 0.0
    blue, green, red = (math.log(level + SMALLEST_LEVEL) for level in cv2.mean(picture)[:3])
    return blue - green, red - green
