"""The drawn road: the labels lie where the lines are."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.vision.synthetic.roads import CLASSES, FARTHEST, HORIZON, Road

SIZE = (320, 180)


def on_line(mask: np.ndarray, points: np.ndarray) -> float:
    """Return the share of points that the mask marks, give or take a pixel."""
    x, y = np.round(points - 0.5).astype(int).T
    hits = [mask[row, max(0, column - 1) : column + 2].any() for column, row in zip(x, y, strict=True)]
    return float(np.mean(hits))


@pytest.mark.parametrize("seed", range(5))
def test_masks_hold_the_lines_of_the_own_lane(seed: int) -> None:
    road = Road(SIZE, seed)
    for metres in (0.0, 33.0, 140.0):
        scene = road.at(metres)
        allowed = {0, CLASSES.index(f"left {road.left}"), CLASSES.index(f"right {road.right}")}
        assert (scene.frame.shape, scene.frame.dtype) == ((SIZE[1], SIZE[0], 3), np.uint8)
        assert set(np.unique(scene.mask)) <= allowed
        assert scene.mask[: round(HORIZON * SIZE[1])].max() == 0
        for points, style in ((scene.left, road.left), (scene.right, road.right)):
            assert len(points) > 8
            assert (np.diff(points[:, 1]) < 0).all()
            assert style == "dashed" or on_line(scene.mask, points[: len(points) // 2]) > 0.9


def test_solid_and_dashed_lines_differ_in_what_they_cover() -> None:
    shares: dict[str, list[float]] = {"solid": [], "dashed": []}
    for seed in range(6):
        road = Road(SIZE, seed)
        for metres in np.linspace(0, 60, 7):
            scene = road.at(float(metres))
            half = len(scene.left) // 2
            shares[road.left].append(on_line(scene.mask, scene.left[:half]))

    assert np.mean(shares["solid"]) > 0.95
    assert 0.1 < np.mean(shares["dashed"]) < 0.6


def test_lines_are_brighter_than_the_asphalt_beside_them() -> None:
    scene = Road(SIZE, 0).at(0.0)
    rows = np.flatnonzero(scene.mask.any(axis=1))[-20:]
    grey = scene.frame.mean(axis=2)

    assert grey[rows][scene.mask[rows] > 0].mean() > 1.4 * np.median(grey[rows][scene.mask[rows] == 0])


def test_the_road_moves_on_and_comes_out_the_same_again() -> None:
    first, again = Road(SIZE, 2), Road(SIZE, 2)

    np.testing.assert_array_equal(first.at(12.5).frame, again.at(12.5).frame)
    assert np.abs(first.at(12.5).frame.astype(int) - first.at(14.0).frame).mean() > 0.5


def test_labels_are_left_out_on_request() -> None:
    scene = Road(SIZE, 1).at(5.0, labels=False)

    assert scene.mask.max() == 0
    assert len(scene.left) > 8
    assert FARTHEST > 30
