"""Lines are read from maps as drawn roads and labelled frames would give them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError
from edgecnn.runtime.evaluation.markings import Matches, label_points, match
from edgecnn.tensor import QuantParams
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.results import Lane, Output
from edgecnn.vision.synthetic.roads import Road, RoadScene
from edgecnn.vision.tasks.lane import decode, marks
from tests.vision.lanes.maps import CONTRACT, HEIGHT, MANIFEST, WIDTH, empty, mark, of_mask, output

GEOMETRY = Preprocess((192, 320), 3).geometry(360, 640)
SEEDS, METRES = range(8), (0.0, 37.0, 90.0, 160.0)


def lanes(logits: np.ndarray) -> dict[str, Lane]:
    """Decode, in pixels of a frame 640 x 360."""
    return {lane.side: lane for lane in decode([output(logits)], MANIFEST).to_frame(GEOMETRY).lanes}


def off(lane: Lane, truth: np.ndarray) -> np.ndarray:
    """Return how far a line is from the true one, in pixels, in all rows in which both are."""
    y = lane.points[:, 1]
    both = (y >= truth[:, 1].min()) & (y <= truth[:, 1].max())
    assert both.sum() > 5
    return np.abs(np.interp(y[both], truth[::-1, 1], truth[::-1, 0]) - lane.points[both, 0])


def scenes() -> list[tuple[Road, RoadScene]]:
    roads = [Road((640, 360), seed) for seed in SEEDS]
    return [(road, road.at(metres)) for road in roads for metres in METRES]


def test_lines_of_drawn_roads_are_found_to_the_pixel() -> None:
    errors, worst = [], 0.0
    for number, (road, scene) in enumerate(scenes()):
        found = lanes(of_mask(scene.mask, number, hidden=0.1))
        assert {side: lane.kind for side, lane in found.items()} == {"left": road.left, "right": road.right}
        for side, truth in (("left", scene.left), ("right", scene.right)):
            distance = off(found[side], truth)
            errors.append(distance.mean())
            # The far half: a lone far dash tells little of the near one. Far away lines may run almost level.
            worst = max(worst, float(distance[-len(distance) // 2 :].max()))
            assert (np.diff(found[side].points[:, 1]) < 0).all()
    # A pixel of the map is four of the frame.
    assert np.median(errors) < 1.0
    assert np.quantile(errors, 0.95) < 4.0
    assert worst < 16.0


def test_gaps_of_dashed_lines_are_bridged_and_not_marked() -> None:
    road = next(road for road in map(lambda seed: Road((640, 360), seed), range(30)) if road.left == "dashed")
    scene = road.at(20.0)
    logits = of_mask(scene.mask)
    rows = np.round(lanes(logits)["left"].points[:, 1] * HEIGHT / 360 - 0.5).astype(int)
    marked = np.round(marks([output(logits)], MANIFEST)["left"][:, 1] * HEIGHT / 192 - 0.5).astype(int)
    assert sorted(rows) == list(range(rows.min(), rows.max() + 1))
    assert 4 <= len(marked) < len(rows) - 10
    assert set(marked) <= set(rows)


def test_false_marks_beside_a_line_do_not_move_it() -> None:
    logits = empty()
    for row in range(40, 96):
        mark(logits, row, 70 - (row - 40), 1)
        mark(logits, row, 90 + (row - 40), 3)
    right = lanes(logits)["right"].points
    for row, column in ((50, 60), (51, 60), (52, 60), (80, 20), (81, 20), (82, 20), (70, 158), (71, 158)):
        logits[row, :, 2:] = -6.0
        mark(logits, row, column, 3)
    assert np.abs(lanes(logits)["right"].points - right).max() < 0.5
    assert len(marks([output(logits)], MANIFEST)["right"]) == 56 - 8


def test_a_line_that_crosses_the_other_is_none() -> None:
    logits = empty()
    for row in range(40, 96):
        mark(logits, row, 70 - (row - 40), 1)
    for row in range(60, 80):
        mark(logits, row, 70 - (row - 40) - 3 * (row - 70), 2)
    found = lanes(logits)
    assert "left" in found
    assert "right" not in found


def test_nothing_and_single_lines() -> None:
    assert lanes(empty()) == {}
    logits = empty()
    for row in range(60, 62):
        mark(logits, row, 40, 0)
    assert lanes(logits) == {}
    for row in range(50, 96):
        mark(logits, row, 60 - (row - 50), 0)
    (lane,) = lanes(logits).values()
    assert (lane.side, lane.kind) == ("left", "dashed")
    assert lane.points[0] == pytest.approx([(60 - 45) * 4, 95.5 * 3.75], abs=2.0)
    # Middles of markings lie half a pixel beside those of pixels.
    assert lane.score == pytest.approx(1 / (1 + np.exp(-3.5)), abs=0.002)


def test_few_marks_have_a_low_score() -> None:
    logits = empty()
    for row in range(60, 68):
        mark(logits, row, 60 - row / 2, 0)
    (lane,) = lanes(logits).values()
    assert lane.score == pytest.approx(0.98 / 2, abs=0.01)


def test_both_lines_go_down_to_the_same_row() -> None:
    logits = empty()
    for row in range(45, 96):
        mark(logits, row, 70 - (row - 40), 1)
    for row in range(45, 60):
        mark(logits, row, 90 + (row - 40), 2)
    found = lanes(logits)
    assert found["left"].points[0, 1] == found["right"].points[0, 1] == 95.5 * 3.75
    assert found["right"].points[0, 0] == pytest.approx((90 + 55) * 4, abs=12)


@given(st.integers(0, 2**31), st.floats(0.0, 0.03), st.booleans())
@settings(max_examples=40)
def test_whatever_the_map_says_lines_are_lines(seed: int, share: float, smooth: bool) -> None:
    rng = np.random.default_rng(seed)
    logits = np.where(rng.random((HEIGHT, WIDTH, 4)) < share, 6.0, -6.0)
    logits = cv2.blur(logits, (1, 5)) if smooth else logits
    found = decode([output(logits)], MANIFEST).lanes
    assert [lane.side for lane in found] == sorted({lane.side for lane in found})
    for lane in found:
        assert len(lane.points) >= 2
        assert (np.diff(lane.points[:, 1]) < 0).all()
        assert (lane.points >= 0).all()
        assert (lane.points <= (320, 192)).all()
        assert 0 < lane.score <= 1
    if len(found) == 2:
        left, right = (lane.points for lane in found)
        rows = np.intersect1d(left[:, 1], right[:, 1])
        both = rows[rows >= max(left[-1, 1], right[-1, 1])]
        gap = np.interp(both, right[::-1, 1], right[::-1, 0]) - np.interp(both, left[::-1, 1], left[::-1, 0])
        assert (gap > 0).all()


@pytest.mark.parametrize("threshold", [0.0, 1.0, True, "half"])
def test_thresholds_that_cannot_be_are_refused(threshold: float | str) -> None:
    with pytest.raises(DataError, match="mark_threshold"):
        decode([output(empty())], replace(MANIFEST, decoding={"mark_threshold": threshold}))


def test_the_bundle_says_how_sure_a_marking_must_be() -> None:
    logits = empty()
    for row in range(50, 96):
        mark(logits, row, 60 - (row - 50), 0)
    faint = output(logits - 3.5)
    assert decode([faint], MANIFEST).lanes
    assert not decode([faint], replace(MANIFEST, decoding={"mark_threshold": 0.7})).lanes


def test_the_middle_of_a_wide_marking_is_found_also_where_it_is_saturated() -> None:
    logits = empty()
    for row in range(50, 96):
        logits[row, 40:53, 1] = 40.0
        mark(logits, row, 110.25, 3)
    found = marks([output(logits)], MANIFEST)
    assert found["left"][:, 0] == pytest.approx(46.5 * 2)
    assert found["right"][:, 0] == pytest.approx(110.25 * 2, abs=0.2)


def test_dashed_and_solid_are_one_marking_together() -> None:
    logits = empty()
    logits[50:96, 40, :2] = -0.5
    # Odds of 0.61 each make 1.21 together.
    (lane,) = lanes(logits).values()
    assert lane.score == pytest.approx(2 * np.exp(-0.5) / (1 + 2 * np.exp(-0.5)), abs=0.01)
    assert lane.points[:, 0] == pytest.approx(40.5 * 4, abs=0.1)


def test_probabilities_are_read_as_they_are() -> None:
    logits = empty()
    for row in range(50, 96):
        mark(logits, row, 60 - (row - 50), 0)
    grid = QuantParams.per_tensor(1 / 256)
    contract = replace(CONTRACT, tensor=replace(CONTRACT.tensor, quant=grid), meaning="probabilities")
    given = Output(contract, np.clip(np.round(256 / (1 + np.exp(-logits))), 0, 255).astype(np.uint8)[None])
    (lane,), (expected,) = decode([given], MANIFEST).lanes, decode([output(logits)], MANIFEST).lanes
    assert lane.points == pytest.approx(expected.points, abs=0.2)
    assert lane.score == pytest.approx(expected.score, abs=0.01)


def test_other_outputs_are_refused() -> None:
    faulty = output(empty())
    with pytest.raises(DataError, match="left dashed"):
        decode([replace(faulty, integers=faulty.integers[..., :3])], MANIFEST)


@pytest.mark.data
def test_marks_of_labelled_frames_are_kept(data_dir: Path) -> None:
    with (data_dir / "lane" / "labels.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] != "yt-K9vHgOmY3gI"][::12]
    total = Matches()
    for number, row in enumerate(rows):
        mask = cv2.imread(str(data_dir / "lane" / row["mask"]), cv2.IMREAD_GRAYSCALE)
        found = marks([output(of_mask(mask, number))], MANIFEST)
        for side, points in label_points(mask).items():
            total += match(GEOMETRY.to_frame(found[side]), points, 640)
    assert total.wanted > 2000
    assert total.precision > 0.995
    # One of these labels calls both lines left.
    assert total.recall > 0.965
