from __future__ import annotations

import math

import numpy as np
import pytest

from edgecnn.runtime.evaluation.curves import area_under_roc, average_precision, counted
from edgecnn.runtime.evaluation.ranking import auroc_interval, paired_auroc_drop, ranking
from tests.runtime.evaluation.rows import part, row

RNG = np.random.default_rng(5)


def newcombe_variance(area: float, good: int, defective: int) -> float:
    """Hanley and McNeil 1982 as they write it, with the mean of both numbers in place of each."""
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    pairs = (good + defective) / 2 - 1
    return (area * (1 - area) + pairs * (first - area**2) + pairs * (second - area**2)) / (good * defective)


@pytest.mark.parametrize(("area", "good", "defective"), [(0.93, 40, 25), (0.7, 12, 300), (0.5, 50, 50)])
def test_the_ends_are_areas_that_a_score_test_just_does_not_reject(area: float, good: int, defective: int) -> None:
    low, high = auroc_interval(area, good, defective)
    assert 0 < low < area < high < 1
    for end in (low, high):
        assert abs(end - area) == pytest.approx(1.959964 * math.sqrt(newcombe_variance(end, good, defective)), rel=1e-5)


def test_the_interval_of_a_perfect_ranking_is_honest() -> None:
    low, high = auroc_interval(1.0, 30, 30)
    assert 1 - low == pytest.approx(1.959964 * math.sqrt(newcombe_variance(low, 30, 30)), rel=1e-5)
    assert (round(low, 3), high) == (0.933, 1.0)
    assert auroc_interval(0.0, 30, 30) == pytest.approx((0.0, 1 - low))
    assert auroc_interval(1.0, 3000, 3000)[0] > 0.998


@pytest.mark.parametrize("wrong", [(1.1, 3, 3), (0.5, 0, 3), (0.5, 3, 0)])
def test_what_cannot_be_has_no_interval(wrong: tuple[float, int, int]) -> None:
    with pytest.raises(ValueError, match="parts of both kinds"):
        auroc_interval(*wrong)


def test_the_interval_holds_the_true_area_as_often_as_it_says() -> None:
    """Two normal distributions, their means 1.8 apart: the true area is Phi(1.8 / sqrt(2))."""
    true, held = 0.5 * (1 + math.erf(1.8 / 2)), 0
    for _ in range(400):
        good, defective = RNG.normal(0, 1, 30), RNG.normal(1.8, 1, 20)
        low, high = auroc_interval(area_under_roc(counted(good, defective)), 30, 20)
        held += low <= true <= high
    assert 0.92 < held / 400 <= 0.99


def slow_drop(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """DeLong et al. 1988 pair by pair: the difference of the areas and its variance."""

    def wins(good: np.ndarray, defective: np.ndarray) -> np.ndarray:
        return np.where(defective[:, None] > good, 1.0, np.where(defective[:, None] == good, 0.5, 0.0))

    first, second = wins(*before), wins(*after)
    of_defective = np.cov(first.mean(axis=1), second.mean(axis=1))
    of_good = np.cov(first.mean(axis=0), second.mean(axis=0))
    both = of_defective / len(first) + of_good / first.shape[1]
    return float(first.mean() - second.mean()), float(both[0, 0] + both[1, 1] - 2 * both[0, 1])


def test_the_paired_drop_is_that_of_delong() -> None:
    good, defective = np.round(RNG.normal(0, 1, 40), 1), np.round(RNG.normal(1, 1, 25), 1)
    after = np.round(good + RNG.normal(0, 0.5, 40), 1), np.round(defective + RNG.normal(0, 0.5, 25), 1)
    value, variance = slow_drop((good, defective), after)
    found = paired_auroc_drop((good, defective), after)
    half = 1.959964 * math.sqrt(variance)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((value, value - half, value + half))


def test_the_drop_of_equal_rankings_is_none_and_of_too_few_parts_unknown() -> None:
    good, defective = np.array([0.1, 0.2]), np.array([0.3, 0.4])
    assert paired_auroc_drop((good, defective), (good / 2, defective / 2)) == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert paired_auroc_drop((good, defective[:1]), (good, defective[:1])) is None


def test_both_models_rank_the_same_parts() -> None:
    rows = [part(True, 0.9, 0.8), part(True, 0.6, 0.2), part(False, 0.1, 0.3), part(False, 0.2, 0.1)]
    found = ranking([*rows, row(None, "PASS", "PASS")])
    assert (found["defective"], found["good"]) == (2, 2)
    assert (found["float"]["auroc"]["value"], found["float"]["ap"]) == (1.0, 1.0)
    assert found["int8"]["auroc"]["value"] == 0.75
    assert found["int8"]["ap"] == pytest.approx(average_precision(counted([0.3, 0.1], [0.8, 0.2])))
    assert found["drop"]["value"] == 0.25
    assert found["int8"]["auroc"]["low"] < 0.75 < found["int8"]["auroc"]["high"]


def test_without_float_there_is_int8_alone() -> None:
    rows = [part(True, 0.9, 0.8), part(False, 0.1, 0.3) | {"float": None}]
    found = ranking(rows)
    assert (found["float"], found["drop"], found["int8"]["auroc"]["value"]) == (None, None, 1.0)


def test_one_kind_of_parts_has_no_ranking() -> None:
    assert ranking([part(True, 0.9, 0.8)] * 3) is None
    assert ranking([part(False, 0.9, 0.8)] * 3) is None
