"""Lanes are drawn where they are, in the colours of their sides, and what is said of them can be read."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.vision.draw import overlay
from edgecnn.vision.lanes.drawing import COLOURS, ego_text
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.results import Decision, Ego, Lane

ROWS = np.arange(355.0, 150.0, -3.75)


def lane(side: str, kind: str = "solid") -> Lane:
    """Return a line of a frame 640 x 360: left of its middle in column 200, right of it in 440."""
    column = 200.0 if side == "left" else 440.0
    return Lane(side, kind, 0.9, np.stack([np.full_like(ROWS, column), ROWS], axis=1))


def drawn(*lanes: Lane, ego: Ego | None = None, size: tuple[int, int] = (360, 640)) -> np.ndarray:
    geometry = Preprocess((192, 320), 3).geometry(360, 640)
    return overlay(np.full((*size, 3), 100, np.uint8), None, Decision(lanes=lanes, ego=ego), (), geometry=geometry)


def share(picture: np.ndarray, side: str, column: int) -> float:
    """Return the share of rows in which a column has the colour of a side."""
    rows = slice(round(picture.shape[0] * 160 / 360), round(picture.shape[0] * 350 / 360))
    return float((picture[rows, column] == COLOURS[side]).all(axis=1).mean())


def test_lines_lie_where_they_are_in_the_colour_of_their_side() -> None:
    picture = drawn(lane("left"), lane("right"))
    assert share(picture, "left", 199) == share(picture, "right", 439) == 1.0
    assert share(picture, "left", 439) == 0.0
    assert (picture[:140] == 100).all()


def test_a_smaller_copy_of_the_frame() -> None:
    picture = drawn(lane("left"), lane("right"), size=(180, 320))
    assert share(picture, "left", 99) == share(picture, "right", 219) == 1.0


def test_dashed_lines_have_gaps() -> None:
    picture = drawn(lane("left", "dashed"), lane("right"))
    assert 0.4 < share(picture, "left", 199) < 0.75
    assert share(picture, "right", 439) == 1.0


def test_the_lane_between_both_lines_is_tinted() -> None:
    picture, alone = drawn(lane("left"), lane("right")), drawn(lane("left"))
    blue, green, red = picture[300, 320].astype(int)
    assert green > blue > 100 > red
    assert (alone[300, 320] == 100).all()
    assert (picture[300, 100] == 100).all()


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Ego(0.004), "in the middle of the lane"),
        (Ego(0.123), "12% of the lane right of the middle"),
        (Ego(-0.2, offset_m=-0.72), "0.72 m left of the middle"),
    ],
)
def test_the_place_in_words(place: Ego, text: str) -> None:
    assert ego_text(place) == text
    without, picture = (drawn(lane("left"), lane("right"), ego=ego) for ego in (None, place))
    changed = np.argwhere((without != picture).any(axis=2))
    assert changed[:, 0].min() > 300
    assert abs(changed[:, 1].mean() - 320) < 3


def test_lines_of_two_points_and_frames_without_lanes() -> None:
    short = Lane("left", "dashed", 0.5, np.array([(10.0, 350.0), (20.0, 346.0)]))
    assert (drawn(short) != 100).any()
    assert (drawn() == 100).all()
