"""Areas under curves, each beside the same thing counted the slow way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.runtime.evaluation.curves import (
    Counts,
    area_under_pro,
    area_under_roc,
    average_precision,
    best_f1,
    counted,
    roc,
)

few_scores = st.lists(st.integers(0, 6).map(lambda number: number / 6), min_size=1, max_size=12)
"""So few levels that ties are common."""


def pairs_won(good: list[float], defective: list[float]) -> float:
    wins = [1.0 if bad > sound else 0.5 if bad == sound else 0.0 for bad in defective for sound in good]
    return sum(wins) / len(wins)


def slow_average_precision(good: list[float], defective: list[float]) -> float:
    area = recall = 0.0
    for threshold in sorted({*good, *defective}, reverse=True):
        hits, wrong = sum(score >= threshold for score in defective), sum(score >= threshold for score in good)
        area += (hits / len(defective) - recall) * (hits / (hits + wrong))
        recall = hits / len(defective)
    return area


def f1_at(threshold: float, good: list[float], defective: list[float]) -> float:
    hits, wrong = sum(score >= threshold for score in defective), sum(score >= threshold for score in good)
    return 2 * hits / (2 * hits + wrong + len(defective) - hits)


@given(few_scores, few_scores)
@settings(max_examples=100)
def test_the_area_is_the_share_of_pairs_in_order(good: list[float], defective: list[float]) -> None:
    assert area_under_roc(counted(good, defective)) == pytest.approx(pairs_won(good, defective))


@given(few_scores, few_scores)
@settings(max_examples=100)
def test_average_precision_is_the_sum_over_thresholds(good: list[float], defective: list[float]) -> None:
    assert average_precision(counted(good, defective)) == pytest.approx(slow_average_precision(good, defective))


@given(few_scores, few_scores)
@settings(max_examples=100)
def test_the_best_f1_is_that_of_the_best_threshold(good: list[float], defective: list[float]) -> None:
    levels = sorted({*good, *defective})
    score, level = best_f1(counted(good, defective))
    assert score == pytest.approx(max(f1_at(threshold, good, defective) for threshold in levels))
    assert f1_at(levels[level], good, defective) == pytest.approx(score)


def test_known_values() -> None:
    """The example of scikit-learn's documentation: labels 0 0 1 1, scores 0.1 0.4 0.35 0.8."""
    counts = counted([0.1, 0.4], [0.35, 0.8])
    assert area_under_roc(counts) == 0.75
    assert average_precision(counts) == pytest.approx(0.8333333333333333)
    assert [side.tolist() for side in roc(counts)] == [[0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1]]


def test_empty_levels_change_nothing() -> None:
    rng = np.random.default_rng(0)
    good, defective = rng.integers(0, 20, 200), rng.integers(5, 25, 80)
    sparse = Counts(*(np.bincount(3 * scores, minlength=100).astype(float) for scores in (good, defective)))
    dense = counted(good, defective)
    for area in (area_under_roc, average_precision):
        assert area(sparse) == pytest.approx(area(dense))
    assert best_f1(sparse)[0] == pytest.approx(best_f1(dense)[0])


def slow_pro(scores: np.ndarray, regions: np.ndarray, limit: float) -> float:
    """The mean overlap of regions over the false positive rate, one threshold after the other."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(scores.ravel().tolist()), reverse=True):
        found = scores >= threshold
        shares = [found[regions == label].mean() for label in range(1, regions.max() + 1)]
        points.append((float(found[regions == 0].mean()), float(np.mean(shares))))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if left >= limit:
            break
        if right > limit:
            low_to_high = (limit - left) / (right - left)
            right, high = limit, low + low_to_high * (high - low)
        area += (right - left) * (low + high) / 2
    return area / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_the_overlap_of_regions_is_the_mean_over_them(limit: float) -> None:
    rng = np.random.default_rng(1)
    regions = np.zeros((30, 30), np.int64)
    regions[2:4, 3:6], regions[10:20, 5:18], regions[25, 25] = 1, 2, 3
    scores = np.clip(rng.integers(0, 12, (30, 30)) + 4 * (regions > 0) - 3 * (regions == 2), 0, 20)
    overlap = sum(
        np.bincount(scores[regions == label], minlength=32) / np.count_nonzero(regions == label) for label in (1, 2, 3)
    )
    good = np.bincount(scores[regions == 0], minlength=32).astype(float)
    assert area_under_pro(good, np.asarray(overlap), limit) == pytest.approx(slow_pro(scores, regions, limit))


def test_perfect_maps_have_the_whole_area() -> None:
    assert area_under_pro(np.array([9.0, 0.0]), np.array([0.0, 2.0])) == 1.0
    assert area_under_pro(np.array([9.0, 1.0]), np.array([2.0, 0.0]), 0.05) == 0.0


@pytest.mark.parametrize("sides", [([], [1.0]), ([1.0], []), ([], [])])
def test_one_kind_alone_has_no_curve(sides: tuple[list[float], list[float]]) -> None:
    counts = counted(*sides)
    assert not counts.is_complete
    with pytest.raises(ValueError, match="good and defective"):
        area_under_roc(counts)


def test_nothing_defective_has_no_precision() -> None:
    for area in (average_precision, best_f1):
        with pytest.raises(ValueError, match="got none"):
            area(counted([0.5], []))
