"""The figures of the TuSimple lane benchmark: accuracy, false positives and false negatives.

Source: TuSimple 2017, "Lane detection challenge", https://github.com/TuSimple/tusimple-benchmark,
    doc/lane_detection and evaluate/lane.py. Its pictures are 1280 x 720; others are measured in its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Columns = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]

WIDTH, HEIGHT = 1280, 720
NEAR, MATCHED = 20.0, 0.85
"""Pixels that a point may be off, more on slanted lines, and the share of points that makes a line found."""
MOST_LINES, MOST_MORE = 4, 2
"""Lines that count at most, and lines beyond those of the label after which a picture counts as failed."""
_ROWS = np.arange(160.0, HEIGHT, 10.0)
_MISSING = -100.0
"""Where a line is not: missing in both is right, as in the benchmark."""


@dataclass(frozen=True)
class Scores:
    """The figures of one picture, or their means over many.

    Attributes:
        accuracy: Share of points that are right, of the best line for each line of the label.
        false_positives: Share of predicted lines that are none.
        false_negatives: Share of the label's lines that were not found.
    """

    accuracy: float
    false_positives: float
    false_negatives: float


def columns(line: Points, size: tuple[int, int]) -> Columns:
    """Return where a line is in the benchmark's rows, in its pixels.

    Args:
        line: (N, 2), (x, y) in pixels of the picture; gaps are bridged by straight lines.
        size: (width, height) of the picture.
    """
    ordered = line[np.argsort(line[:, 1], kind="stable")] * (WIDTH / size[0], HEIGHT / size[1])
    return np.asarray(np.interp(_ROWS, ordered[:, 1], ordered[:, 0], left=_MISSING, right=_MISSING), np.float64)


def scores(predicted: Sequence[Columns], wanted: Sequence[Columns]) -> Scores:
    """Return the figures of one picture; lines are what `columns` returned."""
    if len(predicted) > len(wanted) + MOST_MORE:
        return Scores(0.0, 0.0, 1.0)
    accuracies = [max((_accuracy(line, label) for line in predicted), default=0.0) for label in wanted]
    matched = sum(accuracy >= MATCHED for accuracy in accuracies)
    missed, right = len(wanted) - matched, sum(accuracies)
    if len(wanted) > MOST_LINES:
        missed, right = max(missed - 1, 0), right - min(accuracies)
    count = max(min(len(wanted), MOST_LINES), 1)
    return Scores(right / count, (len(predicted) - matched) / max(len(predicted), 1), missed / count)


def mean(found: Sequence[Scores]) -> Scores | None:
    """Return the means over pictures, None without any."""
    if not found:
        return None
    rows = np.array([(item.accuracy, item.false_positives, item.false_negatives) for item in found])
    return Scores(*rows.mean(axis=0).tolist())


def _accuracy(line: Columns, label: Columns) -> float:
    """Return the share of rows in which a line is where the label is: a point is as far off as the line is slanted."""
    there = label != _MISSING
    slope = np.polyfit(_ROWS[there], label[there], 1)[0] if np.count_nonzero(there) > 1 else 0.0
    return float(np.mean(np.abs(line - label) < NEAR * np.hypot(1.0, slope)))
