from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError
from edgecnn.manifest import Resize
from edgecnn.vision.preprocess import Preprocess


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_stretch_is_linear_exact() -> None:
    frame = picture(72, 128)
    expected = cv2.resize(frame, (30, 20), interpolation=cv2.INTER_LINEAR_EXACT)
    assert np.array_equal(Preprocess((20, 30), 3)(frame), expected)


def test_a_frame_that_fits_is_not_copied() -> None:
    frame = picture(20, 30)
    assert Preprocess((20, 30), 3)(frame) is frame


def test_linear_exact_on_known_values() -> None:
    frame = np.asarray([[0, 100, 200, 40]], np.uint8)
    assert Preprocess((1, 2), 1)(frame)[0, :, 0].tolist() == [50, 120]


def test_out_is_filled_and_returned() -> None:
    out = np.zeros((20, 30, 3), np.uint8)
    process, frame = Preprocess((20, 30), 3), picture(72, 128)
    assert process(frame, out=out) is out
    assert np.array_equal(out, process(frame))
    with pytest.raises(DataError, match=r"'out' must be contiguous uint8 of shape \(20, 30, 3\)"):
        process(frame, out=np.zeros((20, 30, 1), np.uint8))


def test_letterbox_pads_both_sides_with_the_pad_value() -> None:
    got = Preprocess((10, 10), 3, Resize("letterbox", 77))(np.full((20, 40, 3), 9, np.uint8))
    assert (got[:2] == 77).all()
    assert (got[2:7] == 9).all()
    assert (got[7:] == 77).all()


def test_crop_is_the_centre_of_the_resized_shorter_side() -> None:
    frame = picture(256, 320)
    resized = cv2.resize(frame, (320, 256), interpolation=cv2.INTER_LINEAR_EXACT)
    got = Preprocess((224, 224), 3, Resize("crop", crop_ratio=0.875))(frame)
    assert np.array_equal(got, resized[16:240, 48:272])


def test_crop_also_crops_a_frame_of_the_models_size() -> None:
    got = Preprocess((224, 224), 3, Resize("crop", crop_ratio=0.875))(picture(224, 224))
    enlarged = cv2.resize(picture(224, 224), (256, 256), interpolation=cv2.INTER_LINEAR_EXACT)
    assert np.array_equal(got, enlarged[16:240, 16:240])


def test_grey_and_bgr_are_converted_into_each_other() -> None:
    bgr = np.full((4, 4, 3), (255, 0, 0), np.uint8)
    assert Preprocess((4, 4), 1)(bgr)[0, 0].tolist() == [29]  # 0.114 * 255, ITU-R BT.601
    grey = picture(4, 4, 1)
    assert np.array_equal(Preprocess((4, 4), 3)(grey[..., 0]), np.repeat(grey, 3, axis=2))
    assert np.array_equal(Preprocess((4, 4), 1)(np.repeat(grey, 3, axis=2)), grey)


@pytest.mark.parametrize("channels", [2, 5, 13])
def test_other_channels_are_resized_one_by_one(channels: int) -> None:
    frame = picture(50, 70, channels)
    expected = [
        cv2.resize(frame[..., i].copy(), (33, 21), interpolation=cv2.INTER_LINEAR_EXACT) for i in range(channels)
    ]
    assert np.array_equal(Preprocess((21, 33), channels)(frame), np.stack(expected, axis=-1))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "must be uint8 with values 0 .. 255, got float32"),
        (np.zeros((4, 4, 3), np.uint16), "got uint16"),
        (np.zeros((0, 4, 3), np.uint8), r"and pixels, got shape \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), r"got shape \(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got shape \(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), "Drop the alpha channel"),
        (np.zeros((3, 40, 50), np.uint8), "looks channels-first"),
        (np.zeros((4, 4, 2), np.uint8), r"takes 3 channels \(BGR\) or 1 \(grey\), got shape \(4, 4, 2\)"),
        ([[1, 2]], "must be a numpy array in BGR order, got list"),
    ],
)
def test_frames_that_cannot_be_used_are_refused(frame: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Preprocess((8, 8), 3)(frame)


@settings(max_examples=60)
@given(
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_every_size_fits_and_coordinates_map_back(mode: str, height: int, width: int, rows: int, columns: int) -> None:
    process = Preprocess((rows, columns), 1, Resize(mode, 114, 0.9))
    assert process(np.zeros((height, width), np.uint8)).shape == (rows, columns, 1)
    geometry = process.geometry(height, width)
    points = np.asarray([[0.0, 0.0], [width / 2, height / 3], [width, height]])
    assert np.allclose(geometry.to_frame(geometry.to_model(points)), points)


def test_letterbox_coordinates() -> None:
    geometry = Preprocess((320, 320), 3, Resize("letterbox")).geometry(720, 1280)
    assert geometry.to_model([[0, 0], [1280, 720]]).tolist() == [[0, 70], [320, 250]]
    assert geometry.to_frame([[160, 160], [0, 0]]).tolist() == [[640, 360], [0, 0]]
