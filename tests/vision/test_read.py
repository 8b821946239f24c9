from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.vision.read import read_image


def encoded(suffix: str, picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def written(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_colour_is_bgr_and_grey_stays_two_dimensional(tmp_path: Path) -> None:
    colour, grey = noise(5, 7, 3), noise(5, 7)
    assert np.array_equal(read_image(written(tmp_path, "a.png", encoded(".png", colour))), colour)
    assert np.array_equal(read_image(written(tmp_path, "b.png", encoded(".png", grey))), grey)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    picture = noise(5, 7, 4)
    assert np.array_equal(read_image(written(tmp_path, "a.png", encoded(".png", picture))), picture[..., :3])


def test_an_orientation_is_applied(tmp_path: Path) -> None:
    jpeg = encoded(".jpg", np.zeros((8, 16, 3), np.uint8))
    tag = struct.pack(">HHHLHH", 1, 0x0112, 3, 1, 6, 0)  # one entry: orientation 6, a quarter turn clockwise
    body = b"Exif\0\0MM\0*" + struct.pack(">L", 8) + tag + struct.pack(">L", 0)
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    assert read_image(written(tmp_path, "a.jpg", jpeg)).shape[:2] == (8, 16)
    assert read_image(written(tmp_path, "b.jpg", turned)).shape[:2] == (16, 8)


def test_a_frame_of_many_channels_comes_from_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(4, 5, 6))
    assert np.array_equal(read_image(tmp_path / "a.npy"), noise(4, 5, 6))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("text.jpg", b"hello, this is no picture", "expected a picture"),
        ("cut.jpg", encoded(".jpg", noise(200, 200, 3))[:9000], "the JPEG is cut off"),
        ("cut.png", encoded(".png", noise(200, 200, 3))[:9000], "the PNG is cut off"),
        ("deep.png", encoded(".png", noise(4, 4).astype(np.uint16)), "8 bits per channel, got uint16"),
        ("float.tiff", encoded(".tiff", noise(4, 4).astype(np.float32)), "got float32"),
        ("a.npy", b"\x93NUMPY\x01\x00", "not a readable .npy array"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"{name}: .*{message}"):
        read_image(written(tmp_path, name, data))


def test_a_pickle_in_npy_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.asarray([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"evil.npy: not a readable .npy array: Object arrays cannot be loaded"):
        read_image(tmp_path / "evil.npy")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jpg: cannot be read: No such file"):
        read_image(tmp_path / "none.jpg")
