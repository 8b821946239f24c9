"""From a frame of any size to the model's tensor: the same code calibrates, evaluates and runs.

Resizing is OpenCV's INTER_LINEAR_EXACT and nothing else. INTER_LINEAR differs between ARM and x86 by one in a quarter
of all pixels; the exact variant, JPEG decoding and colour conversion give the same bits on both. It takes two pixels
per axis and does not smooth when it shrinks a frame a lot: models see the same aliasing when they are calibrated,
evaluated and run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.errors import DataError
from edgecnn.manifest import InputContract, Resize
from edgecnn.vision.tiling import Tiling

Image = npt.NDArray[np.uint8]

MOST_ENLARGED = 4
"""How many times a frame smaller than a tile may be enlarged: beyond, there is nothing left to be seen."""


@dataclass(frozen=True)
class Geometry:
    """How a point of the model's picture maps to the frame: ``frame = (model - offset) / scale``, per axis.

    Coordinates are continuous: (0, 0) is the outer corner of the first pixel, (width, height) that of the last.

    Attributes:
        scale: (x, y) model pixels per frame pixel.
        offset: (x, y) position of the frame's corner in the model's picture, negative where the frame was cropped.
        frame_size: (width, height) of the frame.
        resized: (width, height) of the frame after resizing, before padding or cropping.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]
    frame_size: tuple[int, int]
    resized: tuple[int, int]

    def to_frame(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map points of shape (..., 2), (x, y) in model pixels, to frame pixels, clipped to the frame."""
        moved = np.asarray(points, np.float64) - np.asarray(self.offset, np.float64)
        return np.clip(moved / np.asarray(self.scale, np.float64), 0.0, np.asarray(self.frame_size, np.float64))

    def to_model(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map points of shape (..., 2), (x, y) in frame pixels, to model pixels, not clipped."""
        scaled = np.asarray(points, np.float64) * np.asarray(self.scale, np.float64)
        return scaled + np.asarray(self.offset, np.float64)


class Preprocess:
    """Bring frames to uint8 (H, W, C) at the model's size, or for tiles at their own: see `Preprocess.size_of`.

    Frames are uint8 arrays: (H, W, 3) in BGR, (H, W) or (H, W, 1) grey, or (H, W, C) for models with other channels.
    Grey and BGR are converted into each other with OpenCV's weights (ITU-R BT.601); all else must fit.

    Args:
        size: Height and width of the model's input, in pixels.
        channels: Channels of the model's input: 3 is BGR, 1 grey, others as they come.
        resize: How other sizes are fitted.

    Attributes:
        tiling: What cuts the result into pictures of the model's size; None where it has this size.
    """

    def __init__(self, size: tuple[int, int], channels: int, resize: Resize | None = None) -> None:
        if min(*size, channels) < 1:
            raise DataError(f"a model's input must have at least one pixel and channel, got {size}, {channels}.")
        self.size = size
        self.channels = channels
        self.resize = resize or Resize()
        self.tiling = Tiling(size, self.resize.overlap) if self.resize.mode == "tile" else None

    @classmethod
    def for_input(cls, contract: InputContract) -> Preprocess:
        """Make the preprocessing that a bundle's input contract asks for."""
        return cls(contract.size, contract.channels, contract.resize)

    def __call__(self, frame: Image, out: Image | None = None) -> Image:
        """Return ``frame`` at the model's size and in its channels.

        Args:
            frame: See the class. Not written to.
            out: A buffer of the result's shape, C-contiguous uint8, to write to and return instead of a new array.

        Returns:
            uint8, shape (H, W, C), C-contiguous. Without ``out``, a frame that fits already is returned itself.

        Raises:
            DataError: If the frame has another dtype, rank or number of channels than can be used.
        """
        picture = self._checked(frame)
        fitted = self._convert(self._fit(picture))
        if out is not None:
            np.copyto(self._checked_buffer(out, fitted.shape), fitted)
            return out
        return np.ascontiguousarray(fitted)

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what becomes of a frame of this size: the model's, but for tiles."""
        if self.tiling is None:
            return self.size
        columns, rows = self.geometry(height, width).resized
        return rows, columns

    def geometry(self, height: int, width: int) -> Geometry:
        """Return how a frame of this size lies in the model's picture."""
        target_height, target_width = self.size
        if self.resize.mode == "stretch":
            scale = (target_width / width, target_height / height)
            return Geometry(scale, (0, 0), (width, height), (target_width, target_height))
        factor = self._factor(target_width / width, target_height / height)
        resized = (_rounded(width * factor), _rounded(height * factor))
        if self.resize.mode in ("crop", "tile"):
            resized = (max(resized[0], target_width), max(resized[1], target_height))
        if self.resize.mode == "tile":
            return Geometry((resized[0] / width, resized[1] / height), (0, 0), (width, height), resized)
        offset = ((target_width - resized[0]) // 2, (target_height - resized[1]) // 2)
        return Geometry((resized[0] / width, resized[1] / height), offset, (width, height), resized)

    def _factor(self, *ratios: float) -> float:
        """Return what both sides of a frame are multiplied with; ``ratios`` make each of them the model's."""
        if self.resize.mode == "letterbox":
            return min(ratios)
        return max(1.0, *ratios) if self.resize.mode == "tile" else max(ratios) / self.resize.crop_ratio

    def _fit(self, picture: Image) -> Image:
        """Resize, then pad or crop; channels stay."""
        height, width = picture.shape[:2]
        if (height, width) == self.size and (self.resize.mode != "crop" or self.resize.crop_ratio == 1.0):
            return picture
        geometry = self.geometry(height, width)
        if self.tiling is not None and geometry.resized[0] > MOST_ENLARGED * width:
            raise DataError(
                f"a frame of {height} x {width} is too small to be seen in tiles of {self.size[0]} x {self.size[1]}: "
                f"it would be enlarged more than {MOST_ENLARGED} times. Export the model with --resize stretch for it."
            )
        limits.PICTURE.check(math.prod(geometry.resized), f"a frame of {height} x {width}, resized", DataError)
        resized = resize_exact(picture, geometry.resized)
        if self.resize.mode == "letterbox":
            return self._padded(resized, geometry)
        if self.resize.mode == "tile":
            return resized
        x, y = -geometry.offset[0], -geometry.offset[1]
        return resized[y : y + self.size[0], x : x + self.size[1]]

    def _padded(self, picture: Image, geometry: Geometry) -> Image:
        canvas = np.full((*self.size, picture.shape[2]), self.resize.pad_value, np.uint8)
        (x, y), (width, height) = geometry.offset, geometry.resized
        canvas[y : y + height, x : x + width] = picture
        return canvas

    def _convert(self, picture: Image) -> Image:
        """Bring grey to BGR or BGR to grey, after resizing because the picture is smaller then."""
        if picture.shape[2] == self.channels:
            return picture
        code = cv2.COLOR_BGR2GRAY if self.channels == 1 else cv2.COLOR_GRAY2BGR
        return _with_channels(cv2.cvtColor(picture, code))

    def _checked(self, frame: Image) -> Image:
        if not isinstance(frame, np.ndarray):
            raise DataError(f"a frame must be a numpy array in BGR order, got {type(frame).__name__}.")
        if frame.dtype != np.uint8:
            raise DataError(
                f"a frame must be uint8 with values 0 .. 255, got {frame.dtype}. Scale and convert it first."
            )
        if frame.ndim not in (2, 3) or frame.size == 0:
            raise DataError(f"a frame must have shape (H, W) or (H, W, C) and pixels, got shape {frame.shape}.")
        picture = _with_channels(frame)
        if picture.shape[2] != self.channels and {picture.shape[2], self.channels} != {1, 3}:
            raise DataError(self._channel_message(frame))
        return picture

    def _channel_message(self, frame: Image) -> str:
        wanted = {1: "1 channel (grey) or 3 (BGR)", 3: "3 channels (BGR) or 1 (grey)"}
        message = f"the model takes {wanted.get(self.channels, f'{self.channels} channels')}, got shape {frame.shape}."
        if frame.shape[0] == self.channels:
            return f"{message} It looks channels-first: give numpy.moveaxis(frame, 0, -1)."
        if frame.shape[-1] == 4:
            return f"{message} Drop the alpha channel: frame[..., :3]."
        return message

    def _checked_buffer(self, out: Image, shape: tuple[int, ...]) -> Image:
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise DataError(f"'out' must be contiguous uint8 of shape {shape}, got {out.dtype} of shape {out.shape}.")
        return out


def resize_exact(picture: Image, size: tuple[int, int]) -> Image:
    """Resize (H, W, C) uint8 to ``size`` = (width, height), bit-equal on every processor; C = 1 stays an axis."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return _with_channels(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR_EXACT))


def _with_channels(picture: npt.NDArray[np.generic]) -> Image:
    """Return a uint8 picture as (H, W, C)."""
    shaped = picture if picture.ndim == 3 else picture[..., None]
    return shaped.astype(np.uint8, copy=False)


def _rounded(size: float) -> int:
    return max(1, round(size))
