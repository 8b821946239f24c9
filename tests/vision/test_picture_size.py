from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.vision.picture_size import NONE, size_of
from edgecnn.vision.read import decode_image, read_image
from tests.fuzz.processes import peak_memory_of


def png(width: int, height: int) -> bytes:
    """A PNG that says of itself to have this size, with a few rows of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * width + 1) * 4, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff", ".pgm", ".ppm"])
@pytest.mark.parametrize("size", [(1, 1), (37, 21), (300, 7)])
def test_the_size_is_what_opencv_decodes(suffix: str, size: tuple[int, int]) -> None:
    width, height = size
    channels = () if suffix == ".pgm" else (3,)
    picture = np.random.default_rng(1).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    assert size_of(cv2.imencode(suffix, picture)[1].tobytes()) == size


def test_the_size_of_other_webp_pictures() -> None:
    picture = np.zeros((21, 37, 4), np.uint8)
    for quality in (50, 101):  # lossy with alpha: an extended header; above 100: lossless
        data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        assert size_of(data) == (37, 21)


def test_what_is_no_picture_has_no_size() -> None:
    for data in (b"", b"RIFF....AVI LIST", b"GIF89a" + bytes(20), b"P5 x", b"P6" + b" " * 5000 + b"1 1 255 x"):
        assert size_of(data) == NONE


def test_a_comment_without_end_costs_no_time() -> None:
    begun = time.process_time()
    assert size_of(b"P6" + b" #" * 2_000_000) == NONE
    assert time.process_time() - begun < 1.0


def test_a_jpeg_with_two_frame_headers_has_the_larger_size() -> None:
    data = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    at = data.index(b"\xff\xc0")
    second = b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, 40000, 50000, 1, 1, 0x11, 0)
    assert size_of(data[:at] + second + data[at:]) == (50000, 40000)


def test_a_picture_bomb_is_refused_before_it_is_decoded() -> None:
    """It is 30,000 pixels a side; decoding it took 5.2 GB."""
    with pytest.raises(DataError, match="30000 x 30000: 900000000 pixels are more than the 67108864 that a picture"):
        decode_image(png(30_000, 30_000), "bomb.png")


def test_the_largest_picture_fits_into_memory(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(8192, 8192))
    code = "from pathlib import Path; from edgecnn.vision.read import read_image; read_image(Path(sys.argv[1]))"
    assert peak_memory_of(code, str(tmp_path / "large.png")) < 500 << 20


def test_a_chunk_of_a_png_that_ends_behind_the_file_is_not_allocated(tmp_path: Path) -> None:
    data = bytearray(png(17, 12))
    data[data.index(b"IDAT") - 4 : data.index(b"IDAT")] = b"\x7f\xff\xff\xff"
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded: the PNG is cut off"):
        read_image(tmp_path / "a.png")
    code = "from pathlib import Path; from edgecnn.vision.read import read_image; read_image(Path(sys.argv[1]))"
    assert peak_memory_of(code, str(tmp_path / "a.png")) < 300 << 20


def test_formats_that_nobody_asked_for_are_not_decoded() -> None:
    for suffix in (".jp2", ".exr", ".hdr", ".ras", ".gif"):
        try:
            done, data = cv2.imencode(suffix, np.zeros((64, 64, 3), np.uint8))
        except cv2.error:
            continue  # this build of OpenCV has no such encoder
        if done:
            with pytest.raises(DataError, match="expected a picture"):
                decode_image(data.tobytes(), "x")
