"""What pictures of this camera look like; `edgecnn.runtime.health.gatherer` learns it from calibration frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.arrays import read_npz
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError
from edgecnn.runtime.health.faults import FAULTS
from edgecnn.runtime.health.features import CELLS, EDGES, Measured, measure, normalised
from edgecnn.runtime.health.layout import JUDGED, VARIATIONS, Layout
from edgecnn.runtime.health.place import Place

Image = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FEATURES = ("brightness", "blue", "red", *JUDGED)
FILE = "health.npz"
"""What a bundle calls it."""
ENOUGH = 20
"""Calibration frames: of fewer, extremes and variations say too little."""
OUTLIERS = 100
"""One calibration frame of so many may be out of order itself, for each feature."""
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
    "sharp_size": ((2,), "int64"),
    "least": ((len(FAULTS),), "float32"),
}
_PLACE = ("box", "size", "patch", "like")


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
        sharp_size: int64 (2,): height and width at which edges were looked at: the camera's own size, where all
            calibration frames had one. Zeros: the model's.
        least: float32, one for each of `FAULTS`: from which strength on it is found, 0 where that was not tried; not a
            number where it is not found.
        place: A fixed patch of the scene, None where there is none.
    """

    count: int
    black: int
    saturated: int
    frames: npt.NDArray[np.int64]
    middle: Float32
    below: Float32
    above: Float32
    layout: Layout
    sharp_size: npt.NDArray[np.int64]
    least: Float32
    place: Place | None = None

    @property
    def finds(self) -> dict[str, float | None]:
        """From which strength on each of `FAULTS` is found, None where it is not; 0 where it was not tried."""
        return {
            name: value if value == value else None for name, value in zip(FAULTS, self.least.tolist(), strict=True)
        }

    @property
    def is_enough(self) -> bool:
        """Whether there were frames enough to judge anything but size, black and white."""
        return self.count >= ENOUGH

    def measure(self, picture: Image, frame: Image | None, edges: Float32 | None = None) -> Measured:
        """Measure a picture as the calibration frames were.

        Args:
            picture: What the model sees, uint8 (H, W, C).
            frame: What it was made from. One of less than the calibration's size says nothing of sharpness.
            edges: `Measured.edges` where they are known already.
        """
        if edges is not None:
            return replace(measure(picture), edges=edges)
        height, width = self.sharp_size.tolist()
        if not height or frame is None:
            return measure(picture)
        if frame.shape[0] < height or frame.shape[1] < width:
            return replace(measure(picture), edges=np.full(EDGES, np.nan, np.float32))
        if frame.shape[:2] != (height, width):
            frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return measure(picture, frame)

    def judge(self, measured: Measured) -> Float64:
        """Return the values of `FEATURES`, float64."""
        judged = self.layout.judge(normalised(measured.cells), measured.edges)
        return np.concatenate([plain(measured), judged])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what is stored, by key."""
        values = {name: getattr(self.layout if name in _LAYOUT else self, name) for name in _SHAPES}
        stored = {name: np.asarray(values[name], dtype) for name, (_, dtype) in _SHAPES.items()}
        patch = {} if self.place is None else {f"place_{name}": getattr(self.place, name) for name in _PLACE}
        return stored | patch

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what was stored in a bundle; None where a version of edgecnn did that judged pictures otherwise.

        Raises:
            BundleError: If the file is no ``.npz``, holds pickled objects, is too large, or an array does not fit.
        """
        arrays = read_npz(path, limits.HEALTH, BundleError)
        if "least" not in arrays:
            return None
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
            if not (np.isfinite(array) | (name == "least")).all() or (name not in _SIGNED and (array < 0).any()):
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
            sharp_size=arrays["sharp_size"],
            least=arrays["least"],
            place=_read_place(arrays),
        )


def _read_place(arrays: Mapping[str, npt.NDArray[Any]]) -> Place | None:
    """Return the fixed patch.

    Raises:
        BundleError: If it is none.
    """
    found = {name: arrays[f"place_{name}"] for name in _PLACE if f"place_{name}" in arrays}
    if not found:
        return None
    try:
        return Place.of(**found)
    except (TypeError, ValueError) as error:
        raise BundleError(f"'place' is no fixed patch of a picture: {error}.") from error


_LAYOUT = tuple(item.name for item in fields(Layout))
_SIGNED = ("middle", "mean", "variations", "movement", "sharpening")


def with_channels(frame_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of a frame."""
    return frame_shape[0], frame_shape[1], frame_shape[2] if len(frame_shape) > 2 else 1


def plain(measured: Measured) -> Float64:
    """Return the features that depend on nothing learnt."""
    return np.array([measured.brightness, measured.blue, measured.red])
