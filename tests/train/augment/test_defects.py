"""Defects that were put on sound parts are where the mask says, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.train.augment.defects import drawn, foreign, moved
from edgecnn.vision.synthetic.surfaces import surfaces

SOUND = [item.frame for item in surfaces(24, 0, "calibration") if item.kind == "good"]


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return how far each pixel was changed, the largest channel."""
    return np.abs(after.astype(int) - before).max(axis=2)


@pytest.mark.parametrize("is_foreign", [False, True])
def test_what_was_put_on_is_seen_in_the_mask_and_not_elsewhere(is_foreign: bool) -> None:
    found = 0
    for index, picture in enumerate(SOUND):
        rng = np.random.default_rng(index)
        pair = foreign(rng, picture, SOUND[index - 1]) if is_foreign else drawn(rng, picture)
        if pair is None:
            continue
        found += 1
        after, mask = pair
        changed = change(picture, after)
        assert mask.shape == picture.shape[:2]
        assert mask.max() >= 128
        assert changed[mask >= 128].mean() > 3 * changed[mask == 0].mean() + 1

    assert found >= len(SOUND) // 2


def test_pictures_need_not_be_square() -> None:
    picture = np.repeat(SOUND[0][:96], 1, axis=0)
    made = [drawn(np.random.default_rng(seed), picture) for seed in range(4)]

    assert all(pair is None or (pair[0].shape == (96, 128, 3) and pair[1].shape == (96, 128)) for pair in made)
    assert any(pair is not None for pair in made)


def test_a_defect_is_moved_with_the_brightness_of_its_new_place() -> None:
    sound, donor = np.full((64, 64, 3), 180, np.uint8), np.full((64, 64, 3), 90, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[28:36, 28:36] = 255
    donor[mask > 0] = 40
    after, placed = moved(sound, donor, mask)

    assert np.array_equal(placed, mask)
    assert after[31, 31].tolist() == pytest.approx([130] * 3, abs=3)
    assert (after[:16] == 180).all()


def test_nothing_that_cannot_be_seen_counts() -> None:
    """Black on black: no flaw stands out, and no other part shows."""
    black = np.zeros((64, 64, 3), np.uint8)

    made = [foreign(np.random.default_rng(seed), black, black) for seed in range(30)]
    assert all(pair is None or change(black, pair[0])[pair[1] >= 128].mean() >= 6 for pair in made)
