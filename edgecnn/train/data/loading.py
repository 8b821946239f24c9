"""From a sample to pixels. Pictures are read by `edgecnn.vision.read`, as the evaluation and the device read them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.train.data.ego import ego_lines
from edgecnn.train.data.samples import GOOD, Sample
from edgecnn.vision.read import read_image
from edgecnn.vision.synthetic.roads import CLASSES

Image = npt.NDArray[np.uint8]

LEFT, RIGHT = len(CLASSES), len(CLASSES) + 1
"""Values in lane masks beside the indices of `roads.CLASSES`: a line whose kind, dashed or solid, is not known."""
LINE_WIDTH = 1 / 40
"""Width of a lane line drawn from its points, as a share of the picture's height: 9 pixels of 360."""
_DRAWN = 128
"""Grey value from which a pixel of a defect mask is drawn. Masks in shades (smoothed, JPEG) reach below it at edges."""
_SHIFT = 4


def load_image(sample: Sample) -> Image:
    """Return the upright picture: uint8 (H, W, 3), BGR; grey files with three equal channels.

    Raises:
        DataError: If the file cannot be read, is not 8 bits deep, or has neither 1 nor 3 channels.
    """
    return _as_colour(read_image(sample.image), sample.image)


def load_mask(sample: Sample) -> Image | None:
    """Return where the defects are: uint8 (H, W) of the upright picture's size, 0 or 255.

    All 0 for a good part, None for a defective one of which nobody drew a mask.

    Raises:
        DataError: If the mask or the picture cannot be read, or the mask is of another size.
    """
    if sample.mask is None:
        return np.zeros(picture_size(sample), np.uint8) if sample.label == GOOD else None
    return binary(_of_size(_grey(read_image(sample.mask), sample.mask), sample))


def load_lanes(sample: Sample) -> Image:
    """Return where the lines of the own lane are: uint8 (H, W) of the upright picture's size.

    Values are indices of `roads.CLASSES` (0 background, 1 left dashed, 2 left solid, 3 right dashed, 4 right solid),
    `LEFT` (5) and `RIGHT` (6) for lines of unknown kind.

    Raises:
        DataError: If the mask or the picture cannot be read, or the mask is of another size or has other values.
    """
    if sample.mask is None:
        return _drawn(sample)
    mask = _of_size(_grey(read_image(sample.mask), sample.mask), sample)
    if mask.max(initial=0) > RIGHT:
        raise DataError(
            f"{sample.mask}: expected lane classes 0 .. {RIGHT} ({', '.join(CLASSES)}, left, right), "
            f"got the value {mask.max()}."
        )
    return mask


def binary(mask: Image) -> Image:
    """Return a defect mask (H, W) as 0 and 255.

    A mask that stays below half brightness holds class indices: everything but 0 is defective. Else what is at least
    half bright is.
    """
    drawn = mask >= (_DRAWN if mask.max(initial=0) >= _DRAWN else 1)
    return np.where(drawn, np.uint8(255), np.uint8(0))


def picture_size(sample: Sample) -> tuple[int, int]:
    """Return height and width of the upright picture, without reading it where they are known."""
    if min(sample.size) > 0:
        return sample.size
    height, width = read_image(sample.image).shape[:2]
    return height, width


def _as_colour(picture: Image, path: Path) -> Image:
    shaped = picture if picture.ndim == 3 else picture[..., None]
    if shaped.shape[2] not in (1, 3) or not picture.size:
        raise DataError(f"{path}: expected a grey picture or one in BGR, got shape {picture.shape}.")
    return np.ascontiguousarray(np.broadcast_to(shaped, (*shaped.shape[:2], 3)))


def _grey(mask: Image, path: Path) -> Image:
    """Return a mask (H, W); colour files pass where their channels are equal."""
    if mask.ndim == 2:
        return mask
    if (mask == mask[..., :1]).all():
        return np.ascontiguousarray(mask[..., 0])
    raise DataError(f"{path}: expected a grey mask, got colours. Save it as 8-bit grey.")


def _of_size(mask: Image, sample: Sample) -> Image:
    size = picture_size(sample)
    if mask.shape == size:
        return mask
    turned = mask.shape == size[::-1]
    hint = " If the picture is turned upright by its EXIF data, its mask must be drawn upright." if turned else ""
    raise DataError(
        f"{sample.mask}: expected a mask of its picture's size {size[1]}x{size[0]}, "
        f"got {mask.shape[1]}x{mask.shape[0]}.{hint}"
    )


def _drawn(sample: Sample) -> Image:
    """Draw the two lines of the own lane as labelled, as wide as markings in masks are."""
    height, width = picture_size(sample)
    mask = np.zeros((height, width), np.uint8)
    thickness = max(1, round(LINE_WIDTH * height))
    for line, value in zip(ego_lines(sample.lanes or (), (height, width)), (LEFT, RIGHT), strict=True):
        if line:
            points = np.round(np.array(line) * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(mask, [points], False, (value,), thickness, cv2.LINE_8, _SHIFT)
    return mask
