"""Defective pixels beside label masks, at the pictures' own size, for models that have one score a pixel.

The model's map is brought to the picture's size first, as OpenCV's INTER_LINEAR does it, and every pixel that the model
sees counts, those of good pictures too. Scores are counted in half steps of INT8's grid, over twice its range: curves
need no more memory for a thousand pictures than for one. Of INT8 without resizing nothing is rounded by that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.curves import Counts, area_under_pro, area_under_roc, average_precision, best_f1
from edgecnn.runtime.evaluation.labelled import PASS, Labelled
from edgecnn.runtime.evaluation.section import PixelFigures, PixelSection
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image
from edgecnn.vision.tasks import INSPECTIONS

Array = npt.NDArray[np.generic]
Mask = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LEVELS = 1024
_MIDDLE = 128
"""Steps of the grid that are kept below 0, and above 255."""
_THRESHOLD = 0.5
_BRIGHT = 128


@dataclass(frozen=True)
class _Labels:
    """The label mask of what the model sees of a picture.

    Attributes:
        regions: int32 (H, W): 0 is good, others number the connected defects.
        pixels: (regions + 1,) pixels of each.
    """

    regions: npt.NDArray[np.int32]
    pixels: Integers

    @classmethod
    def of(cls, mask: Mask) -> _Labels:
        """Number the defects of a mask; pixels that touch at a corner are connected, as in Bergmann et al. 2021."""
        count, regions = cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)
        labels = np.asarray(regions, np.int32)
        return cls(labels, np.bincount(labels.ravel(), minlength=count).astype(np.int64))


class _Tally:
    """Counts one model's pixels over all pictures."""

    def __init__(self) -> None:
        self.hits = self.false_alarms = self.misses = 0
        self.good, self.defective, self.overlap = (np.zeros(LEVELS) for _ in range(3))

    def add(self, scores: Map, threshold: float, labels: _Labels) -> float:
        """Count one picture.

        Args:
            scores: (H, W) in steps of INT8's grid.
            threshold: Likewise; a pixel is defective from it on.
            labels: Of the same size.

        Returns:
            The intersection over union of the defective pixels; 1 where there are none and none are found.
        """
        wanted, found = labels.regions > 0, scores >= threshold
        hits = int(np.count_nonzero(wanted & found))
        false_alarms, misses = int(np.count_nonzero(found)) - hits, int(np.count_nonzero(wanted)) - hits
        self.hits, self.false_alarms = self.hits + hits, self.false_alarms + false_alarms
        self.misses += misses
        levels = np.clip(np.rint(2 * scores) + 2 * _MIDDLE, 0, LEVELS - 1).astype(np.uint16)
        marked = levels[wanted]
        defective = np.bincount(marked, minlength=LEVELS)
        self.defective += defective
        self.good += np.bincount(levels.ravel(), minlength=LEVELS) - defective
        shares = 1.0 / labels.pixels[labels.regions[wanted]]
        self.overlap += np.bincount(marked, weights=shares, minlength=LEVELS)
        return hits / (hits + false_alarms + misses) if hits + false_alarms + misses else 1.0


class PixelCounts:
    """Counts pixels of both models over all pictures.

    Args:
        manifest: A bundle's contract. Unless its task inspects and one of its outputs is a map, nothing is counted.

    Attributes:
        skipped: The label masks that could not be used, and why.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.skipped: list[str] = []
        self._preprocess = Preprocess.for_input(manifest.input)
        self._index = map_of(manifest)
        self._share = float(manifest.decoding.get("pixel_threshold", _THRESHOLD))
        self._int8, self._float = _Tally(), _Tally()
        self._images = self._defective = self._regions = self._with_float = 0
        if self._index is not None:
            output = manifest.outputs[self._index]
            self._is_logits, grid = output.meaning == "logits", output.tensor.grid
            self._scale, self._zero = float(grid.scale[0]), grid.zero_point

    def add(
        self, item: Labelled, size: tuple[int, int], integers: Sequence[Array], real: Sequence[Array] | None
    ) -> float | None:
        """Count one picture that has a label mask, or is good and needs none.

        Args:
            item: The picture.
            size: Its height and width.
            integers: INT8's outputs.
            real: Float's, None where it was not run.

        Returns:
            The intersection over union of INT8's defective pixels and the label mask's; None where it shows no defect.
        """
        if self._index is None or (item.mask is None and item.label != PASS):
            return None
        try:
            mask = np.zeros(size, np.uint8) if item.mask is None else read_mask(item.mask, size)
        except DataError as error:
            self.skipped.append(str(error))
            return None
        rows, columns = self._places(size)
        labels = _Labels.of(mask[np.ix_(rows >= 0, columns >= 0)])
        self._images, self._regions = self._images + 1, self._regions + len(labels.pixels) - 1
        self._defective += len(labels.pixels) > 1
        if real is not None:
            self._with_float += 1
            steps = real[self._index].astype(np.float32) / np.float32(self._scale) + np.float32(self._zero)
            self._float.add(self._spread(steps, rows, columns), self._threshold, labels)
        scores = integers[self._index].astype(np.float32)
        overlap = self._int8.add(self._spread(scores, rows, columns), self._threshold, labels)
        return overlap if len(labels.pixels) > 1 else None

    def section(self) -> PixelSection | None:
        """Return what was counted, None where no label mask shows a defect."""
        if self._regions == 0:
            return None
        return {
            "images": self._images,
            "defective": self._defective,
            "regions": self._regions,
            "threshold": self._share,
            "float": self._figures(self._float) if self._with_float == self._images else None,
            "int8": self._figures(self._int8),
        }

    def _figures(self, tally: _Tally) -> PixelFigures:
        hits, wrong, counts = tally.hits, tally.false_alarms + tally.misses, Counts(tally.good, tally.defective)
        score, level = best_f1(counts)
        return {
            "precision": hits / (hits + tally.false_alarms) if hits + tally.false_alarms else None,
            "recall": hits / (hits + tally.misses),
            "f1": 2 * hits / (2 * hits + wrong),
            "iou": hits / (hits + wrong),
            "best_f1": score,
            "best_threshold": self._probability(level),
            "auroc": area_under_roc(counts) if counts.is_complete else None,
            "ap": average_precision(counts),
            "aupro": area_under_pro(tally.good, tally.overlap) if counts.is_complete else None,
        }

    @property
    def _threshold(self) -> float:
        """The score from which on a pixel is defective, in steps of INT8's grid."""
        share = self._share
        if self._is_logits:
            share = math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)
        return share / self._scale + self._zero

    def _probability(self, level: int) -> float:
        """Return the probability that the lowest score of a level stands for."""
        value = ((level - 2 * _MIDDLE - 0.5) / 2 - self._zero) * self._scale
        return 1 / (1 + math.exp(-value)) if self._is_logits else value

    def _places(self, size: tuple[int, int]) -> tuple[Map, Map]:
        """Return where the centres of a picture's rows and columns lie in what the model saw, 0..1; -1 is outside."""
        place, seen = self._preprocess.geometry(*size), self._preprocess.size_of(*size)
        rows, columns = (
            ((np.arange(size[1 - axis]) + 0.5) * place.scale[axis] + place.offset[axis]) / seen[1 - axis]
            for axis in (1, 0)
        )
        inside = [np.where((centres >= 0) & (centres < 1), centres, -1) for centres in (rows, columns)]
        return inside[0].astype(np.float32), inside[1].astype(np.float32)

    def _spread(self, scores: Map, rows: Map, columns: Map) -> Map:
        """Bring a map (1, h, w, 1) to the picture's pixels that the model sees."""
        across = _interpolated(scores[0, :, :, 0].T, columns[columns >= 0])
        return _interpolated(np.ascontiguousarray(across.T), rows[rows >= 0])


def map_of(manifest: Manifest) -> int | None:
    """Return which output of an inspection is a map of one score a pixel, None if none is."""
    if manifest.task not in INSPECTIONS:
        return None
    for index, output in enumerate(manifest.outputs):
        shape = output.tensor.shape
        if output.layout == "NHWC" and shape[3] == 1 and max(shape) > 1 and output.tensor.quant is not None:
            return index
    return None


def _interpolated(values: Map, places: Map) -> Map:
    """Return the rows of (n, w) at ``places`` (m,), 0..1 from edge to edge: (m, w), linear between rows' centres."""
    last = np.float32(len(values) - 1)
    exact = np.clip(places * np.float32(len(values)) - np.float32(0.5), 0, last)
    first = np.minimum(exact.astype(np.int64), max(len(values) - 2, 0))
    second = np.minimum(first + 1, len(values) - 1)
    share = (exact - first).astype(np.float32)[:, None]
    return np.asarray(values[first] + (values[second] - values[first]) * share, np.float32)


def read_mask(path: Path, size: tuple[int, int]) -> Mask:
    """Read a label mask: uint8 (H, W), 1 for defective, which is half brightness, or 1 in a mask that is darker.

    Raises:
        DataError: If it cannot be read, is not grey, or not of its picture's ``size`` (height, width).
    """
    mask = read_image(path)
    if mask.ndim == 3 and (mask == mask[..., :1]).all():
        mask = mask[..., 0]
    if mask.shape != size:
        raise DataError(f"{path}: expected a grey mask of its picture's size {size}, got shape {mask.shape}.")
    return (mask >= (_BRIGHT if mask.max() >= _BRIGHT else 1)).astype(np.uint8)
