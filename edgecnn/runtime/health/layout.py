"""Where things are in the picture: how far it is from the calibration's, how far it moved, and how sharp it should be.

A picture is a point in a space of `CELLS` grey levels. Calibration frames vary mainly in few directions there (parts
passing by, light from the side): the `Layout` knows the strongest of them and leaves them out. What remains of a new
picture is judged. A camera that moved changes it in a direction that is known beforehand, the derivative of the mean
picture; the movement is the least-squares amount of that direction (Lucas and Kanade 1981, with the directions of
variation projected out as in Hager and Belhumeur 1998).

How strong edges are depends on what is in the picture: an empty place has few. That is told by how far the picture went
in the directions of variation, which blur and noise leave as they are; what is expected from there is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.runtime.health.features import CELLS, GRID, Vector

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

VARIATIONS = 4
"""Directions in which pictures may vary: with more of them, a movement of the camera is taken for one."""
JUDGED = ("distance", "right", "down", "contrast", "detail", "fineness")
_FAINT = 0.003
"""Share of a picture's variance: a layout that is fainter does not show where it is, and movement is not amplified."""


@dataclass(frozen=True)
class Layout:
    """Where things are in calibration frames. All float32, of normalised cells.

    Attributes:
        mean: (CELLS,) the mean picture.
        variations: (VARIATIONS, CELLS) orthonormal directions, or zeros.
        farthest: (VARIATIONS,) how far calibration frames went in each direction, at least 0.
        movement: (2, CELLS) what a picture is multiplied with to get its movement to the right and down.
        sharpening: (EDGES, VARIATIONS) how much stronger edges are by what is in the picture, see `Measured.edges`.
    """

    mean: Float32
    variations: Float32
    farthest: Float32
    movement: Float32
    sharpening: Float32

    @classmethod
    def fit(cls, cells: Float64, edges: Float64) -> Layout:
        """Learn from normalised cells, (frames, CELLS), and edges, (frames, EDGES)."""
        mean = cells.mean(0)
        variations = np.zeros((VARIATIONS, CELLS))
        found = np.linalg.svd(cells - mean, full_matrices=False)[2][:VARIATIONS]
        variations[: len(found)] = found
        amounts = (cells - mean) @ variations.T
        sharpening = np.linalg.lstsq(amounts, edges - edges.mean(0), rcond=None)[0].T
        parts = (mean, variations, np.abs(amounts).max(0), _movement(mean, variations), sharpening)
        return cls(*(part.astype(np.float32) for part in parts))

    def judge(self, cells: Vector, edges: Vector) -> npt.NDArray[np.floating[Any]]:
        """Judge pictures.

        Args:
            cells: Normalised, (..., CELLS).
            edges: (..., EDGES), see `Measured.edges`.

        Returns:
            (..., 6), the values of `JUDGED`. Distance: the median cell's, in deviations of the picture: what is in
            less than half of the picture, a part that is missing or a hand, is for the model to judge. About 0.7
            between pictures that have nothing to do with each other. Movement to the right and down: of 1 of the
            picture's width and height; right for movements of up to a cell, too small for larger ones. Contrast,
            detail and fineness: edges, less what is expected of such a picture beyond the mean one.
        """
        rest = cells - self.mean
        amounts = rest @ self.variations.T
        rest = rest - amounts @ self.variations
        distance = np.partition(np.abs(rest), CELLS // 2, -1)[..., CELLS // 2 : CELLS // 2 + 1]
        known = np.minimum(np.maximum(amounts, -self.farthest), self.farthest)
        return np.concatenate([distance, rest @ self.movement.T, edges - known @ self.sharpening.T], -1)


def _movement(mean: Float64, variations: Float64) -> Float64:
    down, right = np.gradient(mean.reshape(GRID, GRID))
    slopes = np.stack([right.ravel(), down.ravel()])
    # A picture that moved to the right by one cell shows at each place what was one cell to the left.
    slopes = -(slopes - slopes @ variations.T @ variations)
    movement: Float64 = np.linalg.solve(slopes @ slopes.T + _FAINT * CELLS * np.eye(2), slopes) / GRID
    return movement
