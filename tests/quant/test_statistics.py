"""Streaming statistics: nothing is lost when the histogram widens, and memory does not grow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import CalibrationError
from edgecnn.quant.statistics import BINS, SAMPLE, Statistics


def observe(*images: object) -> Statistics:
    statistics = Statistics("t")
    for image in images:
        statistics.update(np.asarray(image, np.float32))
    return statistics


def test_the_ends_are_exact_over_all_images():
    statistics = observe([1.0, -0.25], [0.5, 7.0], [-3.5])
    assert (statistics.low, statistics.high) == (-3.5, 7.0)


def test_values_are_counted_in_the_bin_that_holds_them():
    statistics = observe([-1.0, -0.5, 0.25, 1.0])
    width = 2 / BINS
    found = statistics.centres()[statistics.counts > 0]
    assert np.abs(found - [-1.0, -0.5, 0.25, 1.0]).max() <= width / 2 + 1e-12
    assert statistics.limit == 1.0


def test_widening_loses_no_value_and_moves_none_by_more_than_a_bin():
    rng = np.random.default_rng(0)
    images = [rng.standard_normal(5000) * 4.0**index for index in range(6)]
    statistics = observe(*images)
    values = np.sort(np.concatenate(images))
    assert statistics.counts.sum() == values.size
    assert statistics.limit >= np.abs(values).max()
    placed = np.sort(np.repeat(statistics.centres(), statistics.counts))
    assert np.abs(placed - values).max() <= 2 * statistics.limit / BINS


def test_zeros_seen_before_anything_else_stay_at_zero():
    statistics = observe(np.zeros(100), [4.0])
    near_zero = np.abs(statistics.centres()) <= 4.0 / BINS
    assert statistics.counts[near_zero].sum() == 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20), min_size=1, max_size=6))
def test_every_value_is_counted_whatever_its_size(images):
    statistics = observe(*images)
    assert statistics.counts.sum() == sum(len(image) for image in images)
    values = np.concatenate([np.asarray(image, np.float32) for image in images])
    assert (statistics.low, statistics.high) == (values.min(), values.max())
    placed = np.sort(np.repeat(statistics.centres(), statistics.counts))
    assert np.abs(placed - np.sort(values)).max() <= 2.001 * statistics.limit / BINS + np.finfo(np.float32).tiny


@pytest.mark.parametrize("size", [1e-37, 1e-20, 1e20, 3e38])
def test_extreme_magnitudes_are_counted_where_they_are(size):
    statistics = observe([size / 3, -size / 3], [size, -size])
    assert statistics.counts[: BINS // 2].sum() == 2
    assert statistics.counts[BINS // 2 :].sum() == 2


def test_large_tensors_are_sampled_at_other_places_on_every_image():
    statistics = Statistics("t")
    image = np.zeros(4 * SAMPLE, np.float32)
    image[1::4] = 1.0
    for _ in range(4):
        statistics.update(image)
    assert statistics.counts.sum() == 4 * SAMPLE
    assert statistics.counts[-1] == SAMPLE


def test_memory_does_not_grow_with_images_or_their_size():
    statistics = observe(np.random.default_rng(0).standard_normal(100_000))
    before = {name: np.asarray(value).nbytes for name, value in vars(statistics).items()}
    for seed in range(50):
        statistics.update(np.random.default_rng(seed).standard_normal(1000).astype(np.float32) * seed)
    assert {name: np.asarray(value).nbytes for name, value in vars(statistics).items()} == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_an_error_with_the_tensor_named(bad):
    with pytest.raises(CalibrationError, match=r"tensor 't' has NaN or infinite values .* --mean/--std"):
        observe([0.0, 1.0], [0.5, bad])
