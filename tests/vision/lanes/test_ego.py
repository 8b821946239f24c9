"""Where the camera is and how the road bends follows exactly from drawn roads."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.errors import OptionError
from edgecnn.vision.lanes.birdseye import BirdsEye
from edgecnn.vision.lanes.ego import ego
from edgecnn.vision.results import Lane
from edgecnn.vision.synthetic.roads import FOCAL, HEIGHT, HORIZON, LANE, Road

SIZE = (640, 360)


def on_road(x: float, z: float) -> tuple[float, float]:
    """Return where a point of the road is in the frame, metres to the right and ahead."""
    return SIZE[0] / 2 + FOCAL * SIZE[0] * x / z, round(HORIZON * SIZE[1]) + FOCAL * SIZE[0] * HEIGHT / z


def line(side: str, curvature: float, sway: float) -> Lane:
    """Return the left or right line of a road, the camera ``sway`` metres left of the middle."""
    x = sway + (LANE / 2 if side == "right" else -LANE / 2)
    return Lane(side, "solid", 1.0, np.array([on_road(x + curvature * z**2 / 2, z) for z in np.geomspace(3.5, 60, 50)]))


def lines(curvature: float, sway: float) -> tuple[Lane, Lane]:
    return line("left", curvature, sway), line("right", curvature, sway)


@pytest.mark.parametrize("curvature", [-0.004, 0.0, 0.002])
@pytest.mark.parametrize("sway", [-0.6, 0.0, 0.3])
def test_offset_and_curvature_are_those_of_the_road(curvature: float, sway: float) -> None:
    place = ego(lines(curvature, sway), SIZE, LANE, FOCAL)
    assert place is not None
    assert place.offset_m == pytest.approx(-sway, abs=0.03)
    assert place.offset == pytest.approx(-sway / LANE, abs=0.01)
    assert place.curvature == pytest.approx(curvature, abs=1e-6)
    farthest = 1 / (0.15 * FOCAL * SIZE[0] * LANE / 3.5)
    expected = curvature / 2 * LANE * (FOCAL * SIZE[0] * farthest) ** 2
    assert place.bend == pytest.approx(expected, rel=0.1, abs=1e-6)


def test_without_width_and_focal_length_there_are_no_metres() -> None:
    place = ego(lines(0.002, 0.3), SIZE)
    assert place is not None
    assert place.bend is not None
    assert (place.offset_m, place.curvature) == (None, None)
    assert place.bend > 0 > place.offset


def test_one_line_or_crossed_lines_say_nothing() -> None:
    left, right = lines(0.0, 0.0)
    assert ego((left,), SIZE) is None
    assert ego((Lane("left", "solid", 1.0, right.points), Lane("right", "solid", 1.0, left.points)), SIZE) is None


def test_a_lane_without_depth_has_an_offset_and_no_bend() -> None:
    rows = np.arange(350.0, 200.0, -10.0)
    upright = [
        Lane(side, "solid", 1.0, np.stack([np.full_like(rows, x), rows], 1))
        for side, x in zip(("left", "right"), (100.0, 500.0), strict=True)
    ]
    place = ego(upright, SIZE)
    assert place is not None
    assert (place.offset, place.bend) == (pytest.approx(0.05), None)


def corners() -> list[tuple[float, float]]:
    return [on_road(x, z) for x, z in ((-1.8, 5), (1.8, 5), (1.8, 40), (-1.8, 40))]


@pytest.mark.parametrize("curvature", [-0.004, 0.002])
def test_the_radius_from_above_is_that_of_the_road(curvature: float) -> None:
    above = BirdsEye(corners(), metres=(3.6, 35))
    for side in ("left", "right"):
        assert above.radius(line(side, curvature, 0.2).points) == pytest.approx(1 / curvature, rel=0.01)
    assert abs(above.radius(line("left", 0.0, 0.0).points) or 0.0) > 1e6
    assert BirdsEye(corners()).radius(line("left", curvature, 0.0).points) is None


def test_lines_of_a_straight_road_are_upright_from_above() -> None:
    above, road = BirdsEye(corners(), (300, 600)), Road(SIZE, 2)
    assert above.points(corners()) == pytest.approx(np.array([(100, 600), (200, 600), (200, 0), (100, 0)]), abs=1e-3)
    assert np.ptp(above.points(line("left", 0.0, 0.0).points)[:, 0]) < 1e-3
    frame = np.zeros((360, 640, 3), np.uint8)
    frame[road.at(0.0).mask > 0] = 255
    columns = np.flatnonzero(above.view(frame)[300:, :, 0].max(axis=0))
    assert 95 <= columns.min() < 105
    assert 195 <= columns.max() < 210


@pytest.mark.parametrize(
    "given",
    [[(0, 0)] * 4, [(0, 9), (9, 9), (9, 0)], [(9, 9), (0, 9), (0, 0), (9, 0)], [(0, 9), (9, 0), (9, 9), (0, 0)]],
)
def test_corners_of_no_rectangle_are_refused(given: list[tuple[float, float]]) -> None:
    with pytest.raises(OptionError, match="four points"):
        BirdsEye(given)
