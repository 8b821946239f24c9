"""The frames that a bundle carries to prove itself: spread over what calibration showed, and some that no camera shows.

The first frames by name are often one part in one light: an error in dark or saturated values would not be seen. Kept
are, of all calibration frames, the darkest, the brightest, the flattest and the one with most contrast, and those that
are farthest from each other. Drawn ones reach the ends of the grids: black, white, a checkerboard, and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
MOST = 8
"""Calibration frames that are kept."""
SIDE = 16
"""Frames are compared at so many points a side."""
SQUARE = 8
"""Pixels a side of a square of the checkerboard."""


@dataclass(frozen=True)
class _Seen:
    frame: Frame
    points: Floats
    brightness: float
    contrast: float


class GoldenFrames:
    """Chooses among frames that come one after the other; no more than a dozen are in memory at a time."""

    def __init__(self) -> None:
        self._extremes: dict[str, _Seen] = {}
        self._spread: list[_Seen] = []

    def add(self, frame: Frame) -> None:
        """Take in one frame, uint8 (H, W, C) at the model's size."""
        rows, columns = (np.linspace(0, size - 1, SIDE).astype(int) for size in frame.shape[:2])
        points = frame[np.ix_(rows, columns)].astype(np.float32)
        seen = _Seen(frame.copy(), points, float(frame.mean()), float(frame.std()))
        for name, value in _ranks(seen).items():
            if name not in self._extremes or value > _ranks(self._extremes[name])[name]:
                self._extremes[name] = seen
        self._spread.append(seen)
        if len(self._spread) > MOST:
            self._drop_one()

    def _drop_one(self) -> None:
        """Drop one of the two frames that are nearest to each other: the one that has other frames near as well."""
        points = np.stack([item.points.ravel() for item in self._spread])
        distances = np.linalg.norm(points[:, None] - points[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        pair = np.unravel_index(int(distances.argmin()), distances.shape)
        nearest_two = np.sort(distances[list(pair)], axis=1)[:, :2].sum(axis=1)
        del self._spread[pair[int(nearest_two.argmin())]]

    @property
    def frames(self) -> list[Frame]:
        """The frames chosen so far, at most `MOST`, no one twice: the extremes first."""
        chosen = {id(item): item.frame for item in (*self._extremes.values(), *self._spread)}
        return list(chosen.values())[:MOST]


def _ranks(seen: _Seen) -> dict[str, float]:
    return {
        "darkest": -seen.brightness,
        "brightest": seen.brightness,
        "flattest": -seen.contrast,
        "most contrast": seen.contrast,
    }


def drawn(shape: tuple[int, ...]) -> list[Frame]:
    """Return black, white, a checkerboard and noise, uint8 of ``shape`` (H, W, C)."""
    rows, columns = np.indices(shape[:2]) // SQUARE
    board = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    return [
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        np.ascontiguousarray(np.broadcast_to(board[..., None], shape)),
        np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
    ]
