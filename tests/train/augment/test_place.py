"""Pictures and masks are moved together; pieces show what they are cut out for."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.train.augment import place, road


def spot(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a bright spot on black, and its mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8] = 255
    return np.repeat(mask[..., None], 3, axis=2), mask


@pytest.mark.parametrize("shape", [(96, 96), (64, 128)])
def test_the_mask_goes_with_the_picture(shape: tuple[int, int]) -> None:
    picture, mask = spot(*shape)
    for seed in range(20):
        shown, moved = place.surface(np.random.default_rng(seed), picture, mask)
        assert shown.shape == (*shape, 3)
        assert np.array_equal(shown[..., 0], moved)
        assert moved.max() == 255


def test_surfaces_differ_from_seed_to_seed_and_not_from_time_to_time() -> None:
    picture, mask = spot(96, 96)
    picture = picture + np.arange(96, dtype=np.uint8)[:, None, None] // 2
    seen = [place.surface(np.random.default_rng(seed), picture, mask)[0].tobytes() for seed in (1, 1, 2)]

    assert seen[0] == seen[1] != seen[2]


def test_parts_lie_the_same_way_unless_told_otherwise() -> None:
    mask = np.zeros((96, 96), np.uint8)
    mask[44:52, 20:60] = 255
    picture = np.repeat(mask[..., None], 3, axis=2)

    def seen(turns: bool) -> list[tuple[bool, bool]]:
        """Return whether the bar stands upright, and whether its middle is left of the picture's."""
        found = []
        for seed in range(40):
            rows, columns = np.nonzero(place.surface(np.random.default_rng(seed), picture, mask, turns)[1])
            found.append((bool(np.ptp(rows) > np.ptp(columns)), bool(columns.mean() < 48)))
        return found

    assert {upright for upright, _ in seen(turns=False)} == {False}
    assert {left for _, left in seen(turns=False)} == {False, True}
    assert {upright for upright, _ in seen(turns=True)} == {False, True}


def test_pieces_mostly_show_the_defect() -> None:
    picture, mask = spot(256, 256)
    pieces = [place.piece(np.random.default_rng(seed), picture, mask, (96, 96)) for seed in range(100)]
    shares = [float(part.max() == 255) for _, part in pieces]

    assert all(shown.shape == (96, 96, 3) and part.shape == (96, 96) for shown, part in pieces)
    assert np.mean(shares) > place.AROUND


def test_a_piece_may_be_the_whole_picture() -> None:
    picture, mask = spot(64, 64)
    shown, part = place.piece(np.random.default_rng(0), picture, mask, (64, 64))

    assert np.array_equal(shown, picture)
    assert np.array_equal(part, mask)


def test_in_a_mirror_left_lines_are_right_ones() -> None:
    mask = np.zeros((90, 160), np.uint8)
    mask[40:, 40:50], mask[40:, 110:120] = 1, 4
    picture = np.repeat(mask[..., None] * 60, 3, axis=2)
    kinds = set()
    for seed in range(30):
        shown, moved = road.place(np.random.default_rng(seed), picture, mask, (90, 160))
        row = moved[60]
        assert shown.shape == (90, 160, 3)
        kinds.add(tuple(int(value) for value in dict.fromkeys(row[row > 0].tolist())))

    assert {(1, 4), (2, 3)} <= kinds
    assert all(left in (1, 2) for left, *_ in kinds if len(_) == 1)


def test_a_bonnet_hides_its_lines_and_nothing_else_is_written_to() -> None:
    mask = np.full((90, 160), 2, np.uint8)
    picture = np.full((90, 160, 3), 120, np.uint8)
    hidden = [road.disturb(np.random.default_rng(seed), picture, mask)[1] for seed in range(40)]

    assert (mask == 2).all()
    assert (picture == 120).all()
    assert any((found[-1] == 0).all() for found in hidden)
    assert all((found[:60] == 2).all() for found in hidden)
