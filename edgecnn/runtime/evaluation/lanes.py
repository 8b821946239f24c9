"""What a lane model found beside label masks, over all pictures: markings, kinds of lines, and TuSimple's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation import tusimple
from edgecnn.runtime.evaluation.inspection import share_of
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.markings import (
    FEW_SOURCES,
    LABELS,
    SIDES,
    TOLERANCE,
    Mask,
    Matches,
    Points,
    by_source,
    f1_interval,
    label_points,
    match,
    pooled,
)
from edgecnn.runtime.evaluation.section import LaneFigures, LaneSection, LaneSourceRow, Matched
from edgecnn.vision.preprocess import Geometry, Preprocess
from edgecnn.vision.read import read_image
from edgecnn.vision.results import Decision, Output
from edgecnn.vision.tasks import lane

TASK = "lane"
UNKNOWN = "unknown"
LEAST_ROWS = 10
"""Rows that a label's line must have to be one of TuSimple's lines, in a picture of its height."""


class LaneCounts:
    """Counts the pictures of one bundle.

    Attributes:
        skipped: The label masks that could not be used, and why.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.skipped: list[str] = []
        self._manifest, self._preprocess = manifest, Preprocess.for_input(manifest.input)
        self._sources: list[str] = []
        self._int8, self._float = _Tally(), _Tally()

    def add(
        self,
        item: Labelled,
        size: tuple[int, int],
        int8: tuple[Decision, Sequence[Output]],
        before: tuple[Decision, Sequence[Output]] | None,
    ) -> float | None:
        """Count one picture.

        Args:
            item: The picture; its label mask is grey, of its size, with the values of
                `edgecnn.runtime.evaluation.markings.LABELS`.
            size: Its height and width.
            int8: INT8's decision in pixels of the model's picture, and its outputs.
            before: Float's, None where it was not run.

        Returns:
            INT8's F1; None for other tasks and without a label mask that can be used.
        """
        if self._manifest.task != TASK or item.mask is None:
            return None
        try:
            label = _Label.of(_read(item, size))
        except DataError as error:
            self.skipped.append(str(error))
            return None
        self._sources.append(item.source or item.kind or UNKNOWN)
        geometry = self._preprocess.geometry(*size)
        if before is not None:
            self._float.add(label, *self._found(*before, geometry))
        return self._int8.add(label, *self._found(*int8, geometry))

    def section(self) -> LaneSection | None:
        """Return the figures of both models, None where there is no label mask."""
        if not self._sources:
            return None
        has_float = len(self._float.pooled) == len(self._sources)
        return {
            "images": len(self._sources),
            "tolerance": TOLERANCE,
            "over": "sources" if len(set(self._sources)) >= FEW_SOURCES else "pictures",
            "float": self._float.figures(self._sources) if has_float else None,
            "int8": self._int8.figures(self._sources),
            "sources": self._rows(has_float),
        }

    def _rows(self, has_float: bool) -> list[LaneSourceRow]:
        after = by_source(self._int8.pooled, self._sources)
        before = by_source(self._float.pooled, self._sources) if has_float else {}
        return [
            {
                "name": name,
                "images": self._sources.count(name),
                "float": _matched(before[name]) if name in before else None,
                "int8": _matched(found),
            }
            for name, found in after.items()
        ]

    def _found(
        self, decision: Decision, outputs: Sequence[Output], geometry: Geometry
    ) -> tuple[Mapping[str, Points], Decision]:
        """Return markings and lines in pixels of the picture."""
        marks = lane.marks(outputs, self._manifest)
        return {side: geometry.to_frame(points) for side, points in marks.items()}, decision.to_frame(geometry)


@dataclass(frozen=True)
class _Label:
    """What a label mask says.

    Attributes:
        size: (width, height).
        points: Middles of the markings by side.
        kinds: ``"dashed"`` or ``"solid"`` by side, where it is known.
    """

    size: tuple[int, int]
    points: Mapping[str, Points]
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, mask: Mask) -> _Label:
        count = np.bincount(mask.ravel(), minlength=256)
        dashed_solid = {side: (int(count[values[0]]), int(count[values[1]])) for side, values in LABELS.items()}
        kinds = {side: "solid" if solid > dashed else "dashed" for side, (dashed, solid) in dashed_solid.items()}
        known = {side: kind for side, kind in kinds.items() if any(dashed_solid[side])}
        return cls((mask.shape[1], mask.shape[0]), label_points(mask), known)

    @property
    def lines(self) -> list[Points]:
        """The lines: per row the middle of all that is marked on a side."""
        least = LEAST_ROWS * self.size[1] / tusimple.HEIGHT
        return [line for points in self.points.values() if len(line := _one_a_row(points)) >= least]


class _Tally:
    """Counts one model's pictures."""

    def __init__(self) -> None:
        self.pooled: list[Matches] = []
        self._sided = Matches()
        self._kinds = [0, 0]
        self._tusimple: list[tusimple.Scores] = []

    def add(self, label: _Label, marks: Mapping[str, Points], decision: Decision) -> float:
        """Count one picture and return its F1."""
        width = label.size[0]
        self.pooled.append(match(pooled(marks), pooled(label.points), width))
        for side in SIDES:
            self._sided += match(marks[side], label.points[side], width)
        for line in decision.lanes:
            if line.side in label.kinds:
                self._kinds[0] += line.kind == label.kinds[line.side]
                self._kinds[1] += 1
        if lines := label.lines:
            found, wanted = (
                [tusimple.columns(line, label.size) for line in given]
                for given in ([line.points for line in decision.lanes], lines)
            )
            self._tusimple.append(tusimple.scores(found, wanted))
        return self.pooled[-1].f1

    def figures(self, sources: Sequence[str]) -> LaneFigures:
        """Return the figures of all pictures."""
        total = sum(self.pooled, Matches())
        low, high = f1_interval(self.pooled, sources)
        known = tusimple.mean(self._tusimple)
        return {
            "f1": {"value": total.f1, "low": low, "high": high},
            "precision": total.precision,
            "recall": total.recall,
            "sided_f1": self._sided.f1,
            "kinds": share_of(*self._kinds),
            "tusimple_accuracy": None if known is None else known.accuracy,
            "tusimple_fp": None if known is None else known.false_positives,
            "tusimple_fn": None if known is None else known.false_negatives,
        }


def _read(item: Labelled, size: tuple[int, int]) -> Mask:
    mask = read_image(item.mask) if item.mask is not None else np.zeros(0, np.uint8)
    if mask.shape != size or mask.max() > max(max(values) for values in LABELS.values()):
        raise DataError(
            f"{item.mask}: expected a grey mask of its picture's size {size} with values 0 .. 6, got shape "
            f"{mask.shape}, values up to {mask.max(initial=0)}."
        )
    return mask


def _one_a_row(points: Points) -> Points:
    """Return the mean of the points of every row."""
    rows, index, counts = np.unique(points[:, 1], return_inverse=True, return_counts=True)
    return np.stack([np.bincount(index, points[:, 0], len(rows)) / counts, rows], axis=1)


def _matched(found: Matches) -> Matched:
    return {"precision": found.precision, "recall": found.recall, "f1": found.f1}
