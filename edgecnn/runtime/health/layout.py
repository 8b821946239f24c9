"""Where things are in the picture: how far it is from the calibration's, how far it moved, and how sharp it should be.

A picture is a point in a space of `CELLS` grey levels. Calibration frames vary mainly in few directions there (parts
passing by, light from the side): the `Layout` knows the strongest of them and leaves them out. What remains of a new
picture is judged. A camera that moved changes it in a direction that is known beforehand, the derivative of the mean
picture; the movement is the least-squares amount of that direction (Lucas and Kanade 1981, with the directions of
variation projected out as in Hager and Belhumeur 1998). Cells count by how little they vary otherwise, alone and
together (generalised least squares): a fixture at the border tells more than the parts that change in the middle.

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
JUDGED = ("distance", "right", "down", "contrast", "detail", "fineness", "grain", "texture", "fine")
_SHRINKAGE, _SMALLEST_VARIANCE = 0.8, 0.01
"""Share of the covariance between cells that is not believed, for there are fewer frames than cells; and what every
cell may vary by, however little it did."""
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
        movement = _movement(mean, variations, cells - mean - amounts @ variations)
        parts = (mean, variations, np.abs(amounts).max(0), movement, sharpening)
        return cls(*(part.astype(np.float32) for part in parts))

    def judge(self, cells: Vector, edges: Vector) -> npt.NDArray[np.floating[Any]]:
        """Judge pictures.

        Args:
            cells: Normalised, (..., CELLS).
            edges: (..., EDGES), see `Measured.edges`.

        Returns:
            (..., 9), the values of `JUDGED`. Distance: the median cell's, in deviations of the picture: what is in
            less than half of the picture, a part that is missing or a hand, is for the model to judge. About 0.7
            between pictures that have nothing to do with each other. Movement to the right and down: of 1 of the
            picture's width and height; right for movements of up to a cell, too small for larger ones. The others are
            edges, less what is expected of such a picture beyond the mean one.
        """
        rest = cells - self.mean
        amounts = rest @ self.variations.T
        rest = rest - amounts @ self.variations
        distance = np.partition(np.abs(rest), CELLS // 2, -1)[..., CELLS // 2 : CELLS // 2 + 1]
        known = np.minimum(np.maximum(amounts, -self.farthest), self.farthest)
        return np.concatenate([distance, rest @ self.movement.T, edges - known @ self.sharpening.T], -1)


def _movement(mean: Float64, variations: Float64, rest: Float64) -> Float64:
    """Return (2, CELLS) what a picture is multiplied with to get its movement; ``rest`` is what remained of each."""
    down, right = np.gradient(mean.reshape(GRID, GRID))
    slopes = np.stack([right.ravel(), down.ravel()])
    # A picture that moved to the right by one cell shows at each place what was one cell to the left.
    slopes = -(slopes - slopes @ variations.T @ variations)
    trusted = slopes @ _trust(rest)
    movement: Float64 = np.linalg.solve(trusted @ slopes.T + _FAINT * CELLS * np.eye(2), trusted) / GRID
    return movement


def _trust(rest: Float64) -> Float64:
    """Return (CELLS, CELLS) the inverse of the cells' covariance, on average 1 for a cell."""
    covariance = rest.T @ rest / len(rest)
    own = np.diag(np.diag(covariance))
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * own
    inverse = np.linalg.inv(shrunk + _SMALLEST_VARIANCE * np.eye(CELLS))
    trust: Float64 = inverse * (CELLS / np.trace(inverse))
    return trust
