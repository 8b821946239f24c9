"""Label masks: what a segmenter should have said about every pixel, beside what it said.

A label mask is a grey 8-bit picture of its picture's size. Its values are class indices, and 255 is left out. Of models
with one score a pixel every value but 0 is the class 1, and nothing is left out. What the model does not see of a
picture, and what is padding, does not count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.section import LabelMaskSection
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image

Mask = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
LEFT_OUT = 255
CLASSES = 256


class LabelMasks:
    """Counts pixels of every class over all pictures, in the label masks and in those of INT8 and float.

    Args:
        manifest: The contract of a segmenter.

    Attributes:
        skipped: The label masks that could not be used, and why.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.skipped: list[str] = []
        self._names, self._preprocess = manifest.labels, Preprocess.for_input(manifest.input)
        scores = manifest.outputs[0].tensor
        self._is_binary = scores.quant is not None and scores.shape[-1:] == (1,)
        self._images = 0
        self._wanted = np.zeros(CLASSES, np.int64)
        self._both, self._either = ({name: np.zeros(CLASSES, np.int64) for name in ("float", "int8")} for _ in range(2))
        self._has_float = True

    def add(self, path: Path, size: tuple[int, int], int8: Mask, before: Mask | None) -> None:
        """Count one picture.

        Args:
            path: The label mask.
            size: Height and width of the picture.
            int8: INT8's mask (H, W), class indices.
            before: Float's, None where it was not run.
        """
        try:
            wanted, counts = self._fitted(self._read(path, size), int8.shape)
        except DataError as error:
            self.skipped.append(str(error))
            return
        self._images += 1
        self._wanted += _histogram(wanted[counts])
        self._has_float &= before is not None
        for name, mask in (("int8", int8), ("float", int8 if before is None else before)):
            both = _histogram(wanted[counts & (wanted == mask)])
            self._both[name] += both
            self._either[name] += _histogram(wanted[counts]) + _histogram(mask[counts]) - both

    def section(self) -> LabelMaskSection | None:
        """Return the intersection over union of every class that occurs in a label mask, None where there is none."""
        (found,) = np.nonzero(self._wanted)
        if not found.size:
            return None
        int8, before = ((self._both[name][found] / self._either[name][found]).tolist() for name in ("int8", "float"))
        known = [share if self._has_float else None for share in before]
        return {
            "images": self._images,
            "int8": sum(int8) / len(int8),
            "float": sum(before) / len(before) if self._has_float else None,
            "classes": [
                {"label": self._names[index] if index < len(self._names) else str(index), "int8": after, "float": share}
                for index, after, share in zip(found.tolist(), int8, known, strict=True)
            ],
        }

    def _read(self, path: Path, size: tuple[int, int]) -> Mask:
        mask = read_image(path)
        if mask.shape != size:
            raise DataError(
                f"{path}: expected a grey mask of its picture's size {size}, class indices, got shape {mask.shape}."
            )
        return mask

    def _fitted(self, mask: Mask, shape: tuple[int, ...]) -> tuple[Mask, npt.NDArray[np.bool_]]:
        """Return the class of every pixel of a model's mask of ``shape``, and which pixels count."""
        place, seen = self._preprocess.geometry(*mask.shape), self._preprocess.size_of(*mask.shape)
        columns, rows = (
            _nearest(shape[1 - axis], seen[1 - axis], place.offset[axis], place.scale[axis], mask.shape[1 - axis])
            for axis in (0, 1)
        )
        wanted = mask[np.ix_(rows, columns)]
        counts = (rows >= 0)[:, None] & (columns >= 0)
        if self._is_binary:
            return (wanted > 0).astype(np.uint8), counts
        return wanted, counts & (wanted != LEFT_OUT)


def _nearest(count: int, size: int, offset: int, scale: float, length: int) -> Indices:
    """Return which pixel of a frame's axis each of ``count`` pixels, over ``size`` model pixels, sees; -1 for none."""
    centres = ((np.arange(count) + 0.5) * size / count - offset) / scale
    return np.where((centres >= 0) & (centres < length), centres, -1).astype(np.int64)


def _histogram(values: Mask) -> Indices:
    return np.bincount(values, minlength=CLASSES).astype(np.int64)
