"""Lane markings beside label masks: precision, recall and F1 at a tolerance in pixels.

A marking is told by points: per row of a mask, the middle of every run of marked pixels. A predicted point is right if
a point of the label is near, a point of the label is found if a predicted one is; near is no farther than `TOLERANCE`.
Points of all pictures are counted together. Gaps of dashed lines hold no points, in neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]

SIDES = ("left", "right")
LABELS: Mapping[str, tuple[int, ...]] = {"left": (1, 2, 5), "right": (3, 4, 6)}
"""Values of a label mask by side: dashed, solid, of unknown kind."""
TOLERANCE, REFERENCE_WIDTH = 7.0, 640
"""Pixels between two points that are near, in a picture so wide; wider pictures allow for more."""
FEW_SOURCES = 4
"""With fewer sources than these the interval is over pictures."""
_RESAMPLES, _SEED = 1000, 0


@dataclass(frozen=True)
class Matches:
    """Points that were predicted and points that should be.

    Attributes:
        predicted: Predicted points.
        right: How many of them have a point of the label near.
        wanted: Points of the label.
        found: How many of them have a predicted point near.
    """

    predicted: int = 0
    right: int = 0
    wanted: int = 0
    found: int = 0

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            self.predicted + other.predicted,
            self.right + other.right,
            self.wanted + other.wanted,
            self.found + other.found,
        )

    @property
    def precision(self) -> float:
        """Share of predicted points that are right, 1 without any."""
        return self.right / self.predicted if self.predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the label's points that were found, 1 without any."""
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 where both are."""
        precision, recall = self.precision, self.recall
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def row_middles(mask: npt.NDArray[np.bool_]) -> Points:
    """Return the middle of every run of marked pixels in every row.

    Args:
        mask: bool (H, W).

    Returns:
        (N, 2), (x, y), from the top row to the bottom one; continuous coordinates: the first pixel's middle is at 0.5.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    return np.stack([(starts + ends) / 2, rows + 0.5], axis=1)


def label_points(mask: Mask) -> dict[str, Points]:
    """Return the points of a label mask, uint8 (H, W) with the values of `LABELS`, by side."""
    return {side: row_middles(np.isin(mask, values)) for side, values in LABELS.items()}


def pooled(points: Mapping[str, Points]) -> Points:
    """Return the points of all sides together."""
    return np.concatenate([np.empty((0, 2)), *points.values()])


def match(predicted: Points, wanted: Points, width: int, tolerance: float = TOLERANCE) -> Matches:
    """Compare the points of one picture.

    Args:
        predicted: (N, 2), (x, y) in pixels of the picture.
        wanted: (M, 2), likewise.
        width: The picture's width in pixels.
        tolerance: Farthest that two points may be from each other, in pixels of a picture `REFERENCE_WIDTH` wide.
    """
    if not len(predicted) or not len(wanted):
        return Matches(len(predicted), 0, len(wanted), 0)
    apart = np.square(predicted[:, None] - wanted[None]).sum(axis=2)
    near = apart <= (tolerance * width / REFERENCE_WIDTH) ** 2
    return Matches(len(predicted), int(near.any(axis=1).sum()), len(wanted), int(near.any(axis=0).sum()))


def by_source(matches: Sequence[Matches], sources: Sequence[str]) -> dict[str, Matches]:
    """Return the sums of every source, in the order of their names."""
    found = {source: Matches() for source in sorted(set(sources))}
    for matched, source in zip(matches, sources, strict=True):
        found[source] += matched
    return found


def f1_interval(matches: Sequence[Matches], sources: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of the F1 over pictures like these.

    Pictures of one source are one video and much alike: sources are drawn, with all their pictures. With fewer than
    `FEW_SOURCES` of them pictures are drawn, and the interval says nothing of other sources.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13 (percentile interval); Field and
        Welsh 2007, "Bootstrapping clustered data", JRSS B 69 (drawing clusters).
    """
    sums = by_source(matches, sources).values()
    units = list(sums) if len(sums) >= FEW_SOURCES else list(matches)
    counts = np.array([(item.predicted, item.right, item.wanted, item.found) for item in units], np.float64)
    drawn = np.random.default_rng(_SEED).integers(0, len(units), (_RESAMPLES, len(units)))
    low, high = np.quantile(
        [Matches(*row).f1 for row in counts[drawn].sum(axis=1).astype(int).tolist()], (0.025, 0.975)
    )
    return float(low), float(high)
