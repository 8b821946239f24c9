"""Where a lane model sees markings: per side and row of its map the one place that shows the most of one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.vision.results import Output

Values = npt.NDArray[np.float64]

SIDES, KINDS = ("left", "right"), ("dashed", "solid")
"""Channels of the map are left dashed, left solid, right dashed, right solid."""
_BESIDE = 1 / 12
"""Share of the map's width that a marking may cover to either side of its best pixel."""


@dataclass(frozen=True)
class Evidence:
    """The best place of every row; all arrays are (2, H), left before right.

    Attributes:
        x: Middle of the marking in pixels of the map, continuous coordinates.
        share: Probability of a marking there, dashed or solid, 0..1; 0 where it is below the threshold.
        solid: Probability that a marking there is solid less that it is dashed, -1..1.
        width: Width of the map in pixels.
    """

    x: Values
    share: Values
    solid: Values
    width: int

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Where there is a marking."""
        return self.share > 0

    @property
    def y(self) -> Values:
        """Middles of the rows in pixels of the map, (H,)."""
        return np.arange(self.x.shape[1], dtype=np.float64) + 0.5


def find(output: Output, threshold: float) -> Evidence:
    """Find the best place of every row.

    Its position is the mean of the columns around the highest one that show a marking without a gap, and one more on
    either side, weighted with their probabilities (a soft arg max). Odds of dashed and solid add up: they are of one
    marking.

    Args:
        output: The map, (1, H, W, 4), logits or probabilities.
        threshold: Probability from which a pixel shows a marking.

    Raises:
        DataError: If the output is no such map.
    """
    values = output.integers
    if values.ndim != 4 or values.shape[0] != 1 or values.shape[3] != len(SIDES) * len(KINDS):
        raise DataError(
            f"output '{output.name}' must be a map (1, H, W, 4) of left dashed, left solid, right dashed and right "
            f"solid markings, got shape {values.shape}."
        )
    # Integers of one grid are in the order of what they stand for: only what is used is made real.
    planes = np.ascontiguousarray(values[0].transpose(2, 0, 1))
    best = np.maximum(planes[0::2], planes[1::2]).argmax(axis=2)[..., None]
    width, beside = values.shape[2], max(1, round(values.shape[2] * _BESIDE))
    columns = best + np.arange(-beside, beside + 1)
    inside = np.clip(columns, 0, width - 1)
    dashed, solid = (_odds(output, np.take_along_axis(planes[kind::2], inside, axis=2)) for kind in range(2))
    odds = dashed + solid
    shares = odds / (1.0 + odds) * (inside == columns)
    weights = shares * _connected(shares >= threshold)
    x, share = (weights * (columns + 0.5)).sum(axis=2) / np.maximum(weights.sum(axis=2), 1e-9), shares[..., beside]
    kind = (solid[..., beside] - dashed[..., beside]) / odds[..., beside]
    return Evidence(x, np.where(share >= threshold, share, 0.0), kind, width)


def _connected(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which of 2 N + 1 columns are marked without a gap from the middle one on, and the first that is not."""
    count = marked.shape[-1] // 2
    connected = np.ones_like(marked)
    np.logical_and.accumulate(marked[..., count:-1], axis=-1, out=connected[..., count + 1 :])
    np.logical_and.accumulate(marked[..., count:0:-1], axis=-1, out=connected[..., :count][..., ::-1])
    return connected


def _odds(output: Output, integers: npt.NDArray[np.generic]) -> Values:
    """Return p / (1 - p) of values of the output, above 0."""
    if integers.dtype == np.uint8:
        # Of 256 values each is worked out once.
        return np.asarray(_worked_out(output, np.arange(256, dtype=np.uint8))[integers], np.float64)
    return _worked_out(output, integers)


def _worked_out(output: Output, integers: npt.NDArray[np.generic]) -> Values:
    real = replace(output, integers=integers).real.astype(np.float64)
    if output.contract.meaning == "probabilities":
        inside = np.clip(real, 1e-6, 1 - 1e-6)
        return np.asarray(inside / (1 - inside), np.float64)
    return np.asarray(np.exp(np.clip(real, -30.0, 30.0)), np.float64)
