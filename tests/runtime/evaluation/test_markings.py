"""Markings are compared point by point, pooled over pictures, and TuSimple's figures are those of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.runtime.evaluation import tusimple
from edgecnn.runtime.evaluation.markings import (
    Matches,
    by_source,
    f1_interval,
    label_points,
    match,
    pooled,
    row_middles,
)


def column(x: float, count: int = 10) -> np.ndarray:
    """Return points below each other."""
    return np.stack([np.full(count, x), np.arange(count) + 0.5], axis=1)


def test_middles_of_runs() -> None:
    mask = np.zeros((3, 8), np.bool_)
    mask[0, 2:5] = mask[0, 7] = mask[2, :] = True
    assert row_middles(mask).tolist() == [[3.5, 0.5], [7.5, 0.5], [4.0, 2.5]]
    assert row_middles(np.zeros((3, 8), np.bool_)).shape == (0, 2)


def test_labels_have_sides() -> None:
    mask = np.array([[1, 0, 3, 0], [2, 0, 0, 4], [5, 0, 6, 0]], np.uint8)
    points = label_points(mask)
    assert points["left"].tolist() == [[0.5, 0.5], [0.5, 1.5], [0.5, 2.5]]
    assert points["right"].tolist() == [[2.5, 0.5], [3.5, 1.5], [2.5, 2.5]]
    assert len(pooled(points)) == 6


def test_near_is_within_the_tolerance_and_grows_with_the_picture() -> None:
    assert match(column(107.0), column(100.0), 640) == Matches(10, 10, 10, 10)
    assert match(column(107.1), column(100.0), 640) == Matches(10, 0, 10, 0)
    assert match(column(114.0), column(100.0), 1280) == Matches(10, 10, 10, 10)
    assert match(column(103.0), column(100.0), 640, 2.0) == Matches(10, 0, 10, 0)


def test_precision_recall_and_f1() -> None:
    predicted = np.concatenate([column(100.0, 20), column(300.0, 20)])
    found = match(predicted, column(100.0, 60), 640)
    # Rows 20 to 26 are within 7 px of row 19.
    assert (found.predicted, found.right, found.wanted, found.found) == (40, 20, 60, 27)
    assert found.f1 == pytest.approx(2 * 0.5 * 0.45 / 0.95)
    assert (Matches() + found) == found


def test_nothing_found_and_nothing_wanted() -> None:
    nothing = np.empty((0, 2))
    assert match(nothing, nothing, 640).f1 == 1.0
    assert match(column(1.0), nothing, 640).f1 == 0.0
    assert match(nothing, column(1.0), 640) == Matches(0, 0, 10, 0)
    assert match(nothing, column(1.0), 640).f1 == 0.0


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50)
def test_matches_are_symmetric(seed: int, one: int, other: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 60, (one, 2)), rng.uniform(0, 60, (other, 2))
    there, back = match(first, second, 640), match(second, first, 640)
    assert (there.right, there.found) == (back.found, back.right)
    expected = sum(min(np.hypot(*(point - wanted)) for wanted in second) <= 7 for point in first)
    assert there.right == expected


def test_the_interval_is_over_sources_where_there_are_enough() -> None:
    good, bad = Matches(10, 10, 10, 10), Matches(10, 0, 10, 0)
    matches = [good] * 50 + [bad] * 50
    few = f1_interval(matches, ["a"] * 50 + ["b"] * 50)
    assert 0.38 < few[0] < 0.5 < few[1] < 0.62
    sources = [name for name in "abcdefghij" for _ in range(10)]
    many = f1_interval(matches, sources)
    assert many[0] < 0.3
    assert many[1] > 0.7
    assert by_source(matches, sources)["a"] == Matches(100, 100, 100, 100)


ROWS = np.arange(160.0, 720.0, 10.0)


def upright(x: float, top: float = 160.0, bottom: float = 710.0) -> np.ndarray:
    return tusimple.columns(np.array([(x, bottom), (x, top)]), (1280, 720))


def test_a_point_may_be_20_pixels_off_in_a_picture_of_1280() -> None:
    assert tusimple.scores([upright(319.5)], [upright(300.0)]) == tusimple.Scores(1.0, 0.0, 0.0)
    assert tusimple.scores([upright(320.5)], [upright(300.0)]) == tusimple.Scores(0.0, 1.0, 1.0)
    small = tusimple.columns(np.array([(100.0, 355.0), (100.0, 80.0)]), (640, 360))
    assert small == pytest.approx(upright(200.0))


def test_slanted_lines_are_measured_across() -> None:
    steep = np.array([(1000.0, 710.0), (450.0, 160.0)])
    line, label = (tusimple.columns(steep + np.array([x, 0.0]), (1280, 720)) for x in (25.0, 0.0))
    # 25 px beside a line of 45 degrees are 18 px across.
    assert tusimple.scores([line], [label]) == tusimple.Scores(1.0, 0.0, 0.0)


def test_a_line_is_found_from_85_percent_of_its_points_on() -> None:
    label = upright(300.0)
    for missing, found in ((8, True), (9, False)):
        line = label.copy()
        line[:missing] = -100.0
        accuracy = 1 - missing / len(ROWS)
        scores = tusimple.scores([line], [label])
        assert (scores.accuracy, scores.false_negatives) == (pytest.approx(accuracy), 0.0 if found else 1.0)
        assert scores.false_positives == (0.0 if found else 1.0)


def test_lines_beyond_those_of_the_label() -> None:
    two = [upright(300.0), upright(900.0)]
    assert tusimple.scores([*two, upright(600.0)], two) == tusimple.Scores(1.0, pytest.approx(1 / 3), 0.0)
    assert tusimple.scores([upright(300.0)], two) == tusimple.Scores(0.5, 0.0, 0.5)
    assert tusimple.scores([upright(x) for x in (1, 200, 400, 600, 800)], two) == tusimple.Scores(0.0, 0.0, 1.0)
    assert tusimple.mean([tusimple.Scores(1, 0, 0), tusimple.Scores(0, 1, 0.5)]) == tusimple.Scores(0.5, 0.5, 0.25)
    assert tusimple.mean([]) is None
