"""Picture files to frames. What cannot be read without guessing is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError

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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if not data:
        raise DataError(f"{path}: the file is empty.")
    return _read_array(path) if path.suffix.lower() == ".npy" else decode_image(data, str(path))


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
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error as error:
        raise DataError(f"{name}: cannot be decoded: {error.err}.") from error
    if picture is None:
        raise DataError(f"{name}: expected a picture ({', '.join(EXTENSIONS[:-1])}), it is none or is damaged.")
    return _eight_bit(picture, name)


def _eight_bit(picture: npt.NDArray[np.generic], name: str) -> Image:
    if picture.dtype != np.uint8:
        raise DataError(f"{name}: expected 8 bits per channel, got {picture.dtype}. Convert it to 8 bits first.")
    return picture.astype(np.uint8, copy=False)


def _read_array(path: Path) -> Image:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a readable .npy array: {error}.") from error
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: expected one frame of shape (H, W) or (H, W, C), got {values.shape}.")
    return _eight_bit(values, str(path))
