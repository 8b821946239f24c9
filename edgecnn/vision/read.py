"""Picture files to frames. What cannot be read without guessing is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.arrays import read_npy
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import DataError
from edgecnn.vision.picture_size import size_of

Image = npt.NDArray[np.uint8]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".npy")
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def read_image(path: Path) -> Image:
    """Read one picture file, or one frame stored as ``.npy``.

    An orientation in the EXIF data is applied, so that the frame is upright as its viewer sees it. An alpha channel is
    dropped; the colour under it stays as stored. 16-bit and float pictures are refused, because how their values map
    to 0..255 is the user's choice.

    Args:
        path: The file.

    Returns:
        uint8: (H, W, 3) in BGR, (H, W) for grey files, or what a ``.npy`` holds.

    Raises:
        DataError: If the file is missing, empty, cut off, no picture, or not 8 bits deep.
    """
    if path.suffix.lower() == ".npy":
        return _read_array(path)
    data = read_bytes(path, limits.PICTURE_FILE, DataError)
    if not data:
        raise DataError(f"{path}: the file is empty.")
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> Image:
    """Decode the bytes of a picture file; see `read_image`.

    Args:
        data: The file's content.
        name: What to call it in messages.

    Raises:
        DataError: If it is no picture, cut off, or not 8 bits deep.
    """
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-max(len(data) // 2, 64) :]:
        raise DataError(f"{name}: the JPEG is cut off: it has no end marker.")
    with boundary(DataError, f"{name}: cannot be decoded"):
        width, height = size_of(data)
        limits.PICTURE.check(width * height, f"{name}: {width} x {height}", DataError)
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if width * height == 0 or picture is None:
        raise DataError(f"{name}: expected a picture ({', '.join(EXTENSIONS[:-1])}), it is none or is damaged.")
    return _eight_bit(picture, name)


def _eight_bit(picture: npt.NDArray[np.generic], name: str) -> Image:
    if picture.dtype != np.uint8:
        raise DataError(f"{name}: expected 8 bits per channel, got {picture.dtype}. Convert it to 8 bits first.")
    return picture.astype(np.uint8, copy=False)


def _read_array(path: Path) -> Image:
    values = read_npy(path, limits.FRAME, DataError)
    if values.size == 0:
        raise DataError(f"{path}: expected a frame with pixels, got shape {values.shape}.")
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: expected one frame of shape (H, W) or (H, W, C), got {values.shape}.")
    return _eight_bit(values, str(path))
