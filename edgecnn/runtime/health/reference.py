"""What pictures of this camera look like, learnt from the calibration frames.

Every limit comes from the calibration frames: the range in which a feature lay, and how far beyond it a frame may be
that was not among them. With n frames the largest of n is seen, and what comes in a year is larger: the range is
widened as if the feature were normal, to `RARE` deviations (Blom 1958 for the expected extremes of n). So the limits
do not depend on how many frames there happen to be; of a diverse calibration set they are wide by themselves. Features
that depend on what was learnt are judged on frames that were left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.arrays import read_npz
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError
from edgecnn.runtime.health.blank import is_black, is_saturated
from edgecnn.runtime.health.features import CELLS, EDGES, Measured, measure, normalised, seen_part
from edgecnn.runtime.health.layout import JUDGED, VARIATIONS, Layout
from edgecnn.vision.preprocess import Preprocess

Image = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FEATURES = ("brightness", "blue", "red", *JUDGED)
ENOUGH = 20
"""Calibration frames: of fewer, extremes and variations say too little."""
RARE = 4.0
"""Deviations of a normal feature that a good picture keeps within: one in 30,000 is not."""
OUTLIERS = 100
"""One calibration frame of so many may be out of order itself, for each feature."""
_FOLDS = 10
_MOST_FRAMES = 2048
_SHAPES: dict[str, tuple[tuple[int, ...], str]] = {
    "count": ((), "int64"),
    "black": ((), "int64"),
    "saturated": ((), "int64"),
    "frames": ((3, 2), "int64"),
    "middle": ((len(FEATURES),), "float32"),
    "below": ((len(FEATURES),), "float32"),
    "above": ((len(FEATURES),), "float32"),
    "mean": ((CELLS,), "float32"),
    "variations": ((VARIATIONS, CELLS), "float32"),
    "farthest": ((VARIATIONS,), "float32"),
    "movement": ((2, CELLS), "float32"),
    "sharpening": ((EDGES, VARIATIONS), "float32"),
}


@dataclass(frozen=True)
class Reference:
    """What pictures of this camera look like.

    Attributes:
        count: Calibration frames that it was learnt from.
        black: How many of them were black.
        saturated: How many of them were white.
        frames: int64 (3, 2): smallest and largest height, width and number of channels of the frames as they came.
        middle: float32, one for each of `FEATURES`: the median.
        below: float32 likewise, at least 0: how far below the median a good picture may be.
        above: float32 likewise, at least 0: how far above.
        layout: Where things are.
    """

    count: int
    black: int
    saturated: int
    frames: npt.NDArray[np.int64]
    middle: Float32
    below: Float32
    above: Float32
    layout: Layout

    @property
    def is_enough(self) -> bool:
        """Whether there were frames enough to judge anything but size, black and white."""
        return self.count >= ENOUGH

    def judge(self, measured: Measured) -> Float64:
        """Return the values of `FEATURES`, float64."""
        judged = self.layout.judge(normalised(measured.cells), measured.edges)
        return np.concatenate([_plain(measured), judged])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what is stored, by key."""
        plain = {name: getattr(self.layout if name in _LAYOUT else self, name) for name in _SHAPES}
        return {name: np.asarray(plain[name], dtype) for name, (_, dtype) in _SHAPES.items()}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what was stored in a bundle.

        Raises:
            BundleError: If the file is no ``.npz``, holds pickled objects, is too large, or an array does not fit.
        """
        arrays = read_npz(path, limits.HEALTH, BundleError)
        try:
            with boundary(BundleError, "it makes no sense"):
                return cls.from_arrays(arrays)
        except BundleError as error:
            raise BundleError(f"{path.name}: {error}") from error

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return what `arrays` came from.

        Raises:
            BundleError: If an array is missing, does not fit or makes no sense.
        """
        for name, (shape, dtype) in _SHAPES.items():
            array = arrays.get(name)
            if array is None or array.shape != shape or array.dtype != np.dtype(dtype):
                came = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise BundleError(f"'{name}' must be {dtype} {shape}, got {came}.")
            if not np.isfinite(array).all() or (name not in _SIGNED and (array < 0).any()):
                raise BundleError(f"'{name}' must be finite{'' if name in _SIGNED else ' and not negative'}.")
        if (arrays["frames"] < 1).any() or (arrays["frames"][:, 0] > arrays["frames"][:, 1]).any():
            raise BundleError("'frames' must be the smallest and largest of sizes of 1 or more.")
        return cls(
            count=int(arrays["count"]),
            black=int(arrays["black"]),
            saturated=int(arrays["saturated"]),
            frames=arrays["frames"],
            middle=arrays["middle"],
            below=arrays["below"],
            above=arrays["above"],
            layout=Layout(*(arrays[name] for name in _LAYOUT)),
        )


_LAYOUT = tuple(item.name for item in fields(Layout))
_SIGNED = ("middle", "mean", "variations", "movement", "sharpening")


class Gatherer:
    """Looks at calibration frames one by one, and says what they have in common.

    Of more than `_MOST_FRAMES` every second, fourth, ... is kept, about a kilobyte each.

    Args:
        preprocess: How frames became tensors: with it, letterbox padding is left out of all that is measured.
    """

    def __init__(self, preprocess: Preprocess | None = None) -> None:
        self._preprocess = preprocess
        self._count = self._black = self._saturated = 0
        self._frames = np.array([[np.iinfo(np.int64).max, 0]] * 3, np.int64)
        self._kept: list[Measured] = []
        self._step = 1

    def add(self, tensor: Image, frame_shape: tuple[int, ...]) -> None:
        """Look at one frame.

        Args:
            tensor: uint8 (H, W, C) at the model's size.
            frame_shape: Shape of the frame that it was made from, (H, W) or (H, W, C).
        """
        picture = tensor[seen_part(frame_shape, self._preprocess)]
        shape = np.array(with_channels(frame_shape), np.int64)
        self._frames = np.stack([np.minimum(self._frames[:, 0], shape), np.maximum(self._frames[:, 1], shape)], 1)
        self._black += is_black(picture)
        self._saturated += is_saturated(picture)
        if self._count % self._step == 0:
            self._kept.append(measure(picture))
        self._count += 1
        if len(self._kept) > _MOST_FRAMES:
            self._kept, self._step = self._kept[::2], 2 * self._step

    def reference(self) -> Reference | None:
        """Return what the frames have in common, None if there was none."""
        if not self._count:
            return None
        cells = normalised(np.array([item.cells for item in self._kept])).astype(np.float64)
        edges = np.array([item.edges for item in self._kept], np.float64)
        plain = np.array([_plain(item) for item in self._kept])
        values = np.concatenate([plain, _held_out(cells, edges)], -1)
        middle = np.median(values, 0)
        return Reference(
            self._count,
            self._black,
            self._saturated,
            self._frames.copy(),
            middle.astype(np.float32),
            _reach(middle - values).astype(np.float32),
            _reach(values - middle).astype(np.float32),
            Layout.fit(cells, edges),
        )


def with_channels(frame_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of a frame."""
    return frame_shape[0], frame_shape[1], frame_shape[2] if len(frame_shape) > 2 else 1


def _plain(measured: Measured) -> Float64:
    return np.array([measured.brightness, measured.blue, measured.red])


def _held_out(cells: Float64, edges: Float64) -> npt.NDArray[np.floating[Any]]:
    """Judge every frame by a layout that it was not in, nor were its neighbours: those are often nearly the same."""
    parts = [part for part in np.array_split(np.arange(len(cells)), _FOLDS) if len(part)]
    if len(parts) < _FOLDS:
        return np.zeros((len(cells), len(JUDGED)))
    judged = []
    for part in parts:
        layout = Layout.fit(np.delete(cells, part, 0), np.delete(edges, part, 0))
        judged.append(layout.judge(cells[part], edges[part]))
    return np.concatenate(judged)


def _reach(distances: Float64) -> Float64:
    """Return how far from the median a good frame may be, on one side, for each column of ``distances``."""
    count = len(distances)
    outliers = count // OUTLIERS
    largest: Float64 = np.maximum(np.sort(distances, 0)[count - 1 - outliers], 0)
    expected = NormalDist().inv_cdf((count - outliers - 0.375) / (count + 0.25))
    return largest * (RARE / expected) if count > 1 else largest
