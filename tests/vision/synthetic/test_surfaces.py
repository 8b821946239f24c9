"""Procedural surfaces: what they promise to whoever trains, calibrates and evaluates on them."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import cv2
import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.vision.synthetic.flaws import FLAWS
from edgecnn.vision.synthetic.surfaces import (
    FAINTEST,
    LABELS,
    SMALLEST,
    STREAMS,
    calibration_frames,
    labelled_frames,
    surfaces,
)
from edgecnn.vision.synthetic.textures import TEXTURES, noise

KINDS = {maker.__name__ for maker in FLAWS}


def test_frames_and_masks() -> None:
    for drawn in surfaces(40, seed=1):
        assert (drawn.frame.shape, drawn.frame.dtype) == ((128, 128, 3), np.uint8)
        assert (drawn.mask.shape, drawn.mask.dtype) == ((128, 128), np.uint8)
        assert drawn.frame.flags.c_contiguous
        assert set(np.unique(drawn.mask)) <= {0, 255}
        assert (np.count_nonzero(drawn.mask) >= SMALLEST) == (LABELS[drawn.label] == "defect")


def test_the_same_seed_and_index_give_the_same_picture() -> None:
    whole = list(surfaces(6, seed=3))
    part = list(surfaces(2, seed=3, start=4))

    for one, other in zip(whole[4:], part, strict=True):
        np.testing.assert_array_equal(one.frame, other.frame)
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.kind == other.kind


@pytest.mark.parametrize("change", [{"seed": 4}, {"stream": "evaluation"}, {"stream": "calibration"}])
def test_seeds_and_streams_share_no_picture(change: dict[str, object]) -> None:
    first = {drawn.frame.tobytes() for drawn in surfaces(5, **{"seed": 3} | change)}

    assert first.isdisjoint(drawn.frame.tobytes() for drawn in surfaces(5, seed=3))


def test_half_have_a_defect_and_every_kind_comes_up() -> None:
    kinds = Counter(drawn.kind for drawn in surfaces(300, seed=0))

    assert kinds.keys() == KINDS | {"good"}
    assert 120 <= kinds["good"] <= 180


def test_a_defect_stands_out_from_what_is_around_it() -> None:
    contrasts = []
    for drawn in surfaces(60, seed=6):
        around = cv2.dilate(drawn.mask, np.ones((9, 9), np.uint8)) > drawn.mask
        if drawn.label:
            grey = drawn.frame.mean(axis=2)
            contrasts.append(abs(float(np.median(grey[drawn.mask > 0]) - np.median(grey[around]))))

    assert np.median(contrasts) > 2 * 255 * FAINTEST
    assert np.mean(np.array(contrasts) > 0.5 * 255 * FAINTEST) > 0.85


@pytest.mark.parametrize("size", [32, 96, 256])
def test_other_sizes(size: int) -> None:
    drawn = next(surfaces(1, seed=2, size=size))

    assert drawn.frame.shape == (size, size, 3)
    assert drawn.mask.shape == (size, size)


def test_surfaces_are_neither_black_nor_blown_out() -> None:
    levels = np.array([drawn.frame.mean() for drawn in surfaces(100, seed=5)])

    assert levels.min() > 10
    assert levels.max() < 250
    assert levels.std() > 15


@pytest.mark.parametrize("texture", TEXTURES, ids=lambda texture: texture.__name__)
def test_textures_are_centred_and_of_about_unit_deviation(texture: object) -> None:
    assert callable(texture)
    field = texture(np.random.default_rng(0), 64)

    assert (field.shape, field.dtype) == ((64, 64), np.float32)
    assert abs(float(field.mean())) < 0.5
    assert 0.4 < float(field.std()) < 1.6


def test_noise_is_as_smooth_as_asked() -> None:
    rough, smooth = (noise(np.random.default_rng(0), 128, (blur, 0.0)) for blur in (0.0, 20.0))

    assert np.abs(np.diff(rough, axis=1)).mean() > 0.9
    assert np.abs(np.diff(smooth, axis=1)).mean() < 0.1
    assert np.abs(np.diff(smooth, axis=0)).mean() > 0.9


@pytest.mark.parametrize("maker", FLAWS, ids=lambda maker: maker.__name__)
def test_flaws_are_opaque_between_nought_and_one(maker: object) -> None:
    assert callable(maker)
    for seed in range(20):
        flaw = maker(np.random.default_rng(seed), 128)
        assert flaw.opacity.dtype == flaw.relief.dtype == np.float32
        assert flaw.opacity.min() >= 0
        assert flaw.opacity.max() <= 1 + 1e-6
        assert np.isfinite(flaw.relief).all()
        assert np.count_nonzero(flaw.opacity) < flaw.opacity.size / 2


def test_calibration_frames_are_pictures_alone() -> None:
    frames = list(calibration_frames(3, seed=9))

    assert [frame.shape for frame in frames] == [(128, 128, 3)] * 3
    np.testing.assert_array_equal(frames[0], next(surfaces(1, seed=9, stream="calibration")).frame)


def test_labelled_frames_were_never_trained_on() -> None:
    pairs = list(labelled_frames(4, seed=0))
    expected = list(surfaces(4, seed=0, stream="evaluation"))

    assert [label for _, label in pairs] == [drawn.label for drawn in expected]
    np.testing.assert_array_equal(pairs[3][0], expected[3].frame)


def test_streams_are_lazy() -> None:
    assert len(list(islice(surfaces(10**9, seed=0), 2))) == 2


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}, {"start": -1}, {"size": 16}, {"stream": "test"}])
def test_wrong_wishes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=f"a stream of {', '.join(STREAMS)}; got"):
        list(surfaces(**{"count": 1, "seed": 0} | wrong))
