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
EDGES = 6
FLAT = 4.0
"""Grey levels: where the cells differ by less than about this, there is noise rather than a layout."""
_SMALLEST_ENERGY = 0.5
SMALLEST_LEVEL = 8.0
_STRIPS, _STRIP_PIXELS = 8, 8_192
"""Strips of whole rows, all over the picture, in which edges are looked at, and pixels of one, to bound the cost."""
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
            depend little on what is in the picture. Then edges at full size by themselves.
    """

    cells: npt.NDArray[np.float32]
    brightness: float
    blue: float
    red: float
    edges: npt.NDArray[np.float32]


def measure(picture: Image, frame: Image | None = None) -> Measured:
    """Measure a picture, uint8 (H, W, C): C = 3 is BGR; of any other number the first channel counts as grey.

    Args:
        picture: What the model sees.
        frame: What it was made from, uint8 (H, W) or (H, W, C): edges are looked at here, at the camera's own size, for
            the model's has lost the finest of them. None to look at ``picture``.
    """
    grey = grey_of(picture)
    cells = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA)
    level, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(cells))
    coarsest = float(np.abs(cv2.Laplacian(cells, cv2.CV_16S)).mean()) + _SMALLEST_ENERGY
    blue, red = _colour(picture)
    brightness = math.log(level + SMALLEST_LEVEL)
    edges = _edges(_strips(picture if frame is None else frame), deviation + FLAT, coarsest)
    return Measured(cells.ravel().astype(np.float32), brightness, blue, red, edges)


def _edges(strips: Image, contrast: float, coarsest: float) -> npt.NDArray[np.float32]:
    """Return `Measured.edges` of strips (count, rows, W)."""
    count, rows, width = strips.shape
    whole = strips.reshape(-1, width)
    size = max(width // 2, 1), max(count * rows // 2, 1)
    half = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    fine, coarse = _energy(whole, count), _energy(half, count)
    grain = _differences(whole, count, _QUIET) + _SMALLEST_GRAIN
    texture = _differences(half, count, CELLS // 2) + _SMALLEST_TEXTURE
    return np.log([fine / contrast, fine / coarsest, fine / coarse, grain, texture, fine], dtype=np.float32)


def _strips(picture: Image) -> Image:
    """Return strips of whole rows as grey levels, uint8 (count, rows, W), evenly spread over the picture."""
    height, width = picture.shape[:2]
    rows = min(max(_STRIP_PIXELS // width, 8), height // _STRIPS) // 4 * 4
    if rows < 8:
        return grey_of(picture)[None]
    starts = np.arange(_STRIPS) * (height // _STRIPS) + (height // _STRIPS - rows) // 2
    cut = np.concatenate([picture[start : start + rows] for start in starts.tolist()])
    return grey_of(cut).reshape(_STRIPS, rows, width)


def grey_of(picture: Image) -> Image:
    """Return grey levels, uint8 (H, W), of (H, W) or (H, W, C): C = 3 is BGR, of any other number the first counts."""
    if picture.ndim == 3 and picture.shape[2] == 3:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    return np.ascontiguousarray(picture if picture.ndim == 2 else picture[..., 0])


def noise_level(frame: Image) -> float:
    """Return the deviation of the noise in the quietest places of a frame, in grey levels (Immerkær 1996)."""
    strips = _strips(frame)
    found = _differences(strips.reshape(-1, strips.shape[2]), len(strips), _QUIET)
    return found * math.sqrt(math.pi / 2) / 6


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


def _energy(grey: Image, strips: int) -> float:
    """Return the mean absolute Laplacian, grey levels, of strips that lie one below the other."""
    edges = _inside(cv2.Laplacian(grey, cv2.CV_16S), strips)
    return float(cv2.norm(edges, cv2.NORM_L1)) / edges.size + _SMALLEST_ENERGY


def _differences(grey: Image, strips: int, rank: int) -> float:
    """Return the mean absolute second difference along both axes, in which straight edges vanish (Immerkær 1996).

    Args:
        grey: Strips that lie one below the other.
        strips: How many.
        rank: Which cell's it is, counted from the one that has the least.
    """
    differences = np.abs(_inside(cv2.Sobel(grey, cv2.CV_16S, 2, 2, ksize=3, scale=_STEPS), strips))
    shape = (CELLS // strips, strips) if strips == _STRIPS else (GRID, GRID)
    cells = cv2.resize(differences, shape, interpolation=cv2.INTER_AREA).ravel()
    return float(np.partition(cells, rank)[rank]) / _STEPS


def _inside(values: npt.NDArray[Any], strips: int) -> npt.NDArray[Any]:
    """Return the rows whose neighbours belong to the same strip, (rows, W); all of a picture of two rows or less."""
    rows, width = values.shape
    if rows // strips < 3:
        return values
    return np.ascontiguousarray(values.reshape(strips, -1, width)[:, 1:-1]).reshape(-1, width)


def _colour(picture: Image) -> tuple[float, float]:
    if picture.shape[2] != 3:
        return 0.0, 0.0
    blue, green, red = (math.log(level + SMALLEST_LEVEL) for level in cv2.mean(picture)[:3])
    return blue - green, red - green
