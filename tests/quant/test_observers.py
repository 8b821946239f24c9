"""Every observer on distributions whose best range is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn import plugins
from edgecnn.affine import dequantise, grid_for_range, quantise
from edgecnn.quant.observers import entropy, minmax, mse, percentile
from edgecnn.quant.pipeline import OBSERVERS
from edgecnn.quant.statistics import BINS, SAMPLE, Statistics

ALL = [plugins.load(OBSERVERS, name) for name in plugins.discover(OBSERVERS)]
every_observer = pytest.mark.parametrize("observer", ALL, ids=lambda module: module.__name__.rpartition(".")[2])


def observed(values: np.ndarray) -> Statistics:
    """Observe all values, as images small enough not to be sampled."""
    statistics = Statistics("t")
    for image in np.array_split(values.astype(np.float32), -(-values.size // SAMPLE)):
        statistics.update(image)
    return statistics


def heavy_tailed() -> Statistics:
    """Return a normal distribution with one value in three millions at ten times the rest: clipping pays at 8 bits."""
    statistics = observed(np.random.default_rng(1).standard_normal(16000))
    statistics.counts *= 200
    statistics.update(np.asarray([40.0], np.float32))
    return statistics


def mean_squared_error(statistics: Statistics, ends: tuple[float, float]) -> float:
    grid, values = grid_for_range(*ends), statistics.centres()
    error = dequantise(quantise(values, grid, "uint8"), grid) - values
    return float(np.average(np.square(error), weights=statistics.counts))


def test_all_four_are_found():
    assert list(plugins.discover(OBSERVERS)) == ["entropy", "minmax", "mse", "percentile"]


@every_observer
def test_all_zeros_give_a_usable_grid(observer):
    low, high = observer.choose(observed(np.zeros(100)), 99.99)
    assert (low, high) == (0.0, 0.0)
    assert grid_for_range(low, high).scale == (1.0,)


@every_observer
@pytest.mark.parametrize("value", [3.0, -3.0, 1e-6])
def test_a_constant_is_represented(observer, value):
    ends = observer.choose(observed(np.full(1000, value)), 99.99)
    assert np.isfinite(ends).all()
    grid = grid_for_range(*ends)
    assert dequantise(quantise([value], grid, "uint8"), grid)[0] == pytest.approx(value, rel=0.01)


@every_observer
def test_a_chosen_range_never_exceeds_what_was_seen(observer):
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(5000), rng.uniform(2, 3, 5000), -rng.exponential(size=5000))
    for statistics in (*map(observed, samples), heavy_tailed()):
        low, high = observer.choose(statistics, 99.9)
        assert statistics.low <= low <= high <= statistics.high


@every_observer
def test_a_uniform_distribution_keeps_its_range(observer):
    low, high = observer.choose(observed(np.random.default_rng(0).uniform(-1, 1, 16000)), 99.99)
    assert low == pytest.approx(-1, abs=0.03)
    assert high == pytest.approx(1, abs=0.03)


@every_observer
def test_a_rectified_distribution_starts_at_zero(observer):
    values = np.maximum(np.random.default_rng(0).standard_normal(16000), 0).astype(np.float32)
    low, high = observer.choose(observed(values), 99.99)
    assert low == pytest.approx(0.0, abs=1e-3)
    assert 1.5 < high <= values.max()


def test_minmax_keeps_the_outlier():
    values = np.append(np.random.default_rng(0).standard_normal(9999), 1000.0)
    assert minmax.choose(observed(values), 99.99)[1] == 1000.0


@pytest.mark.parametrize("observer", [percentile, mse, entropy], ids=["percentile", "mse", "entropy"])
def test_the_others_clip_one_huge_outlier(observer):
    low, high = observer.choose(heavy_tailed(), 99.9)
    assert 2.9 < high < 20.0
    assert -4.5 < low < -2.9


@pytest.mark.parametrize("share", [90.0, 99.0, 99.9])
def test_percentile_leaves_that_share_out_at_each_end(share):
    values = np.random.default_rng(0).uniform(-1, 1, 16000)
    low, high = percentile.choose(observed(values), share)
    tail = (100 - share) / 100
    width = 2 / BINS
    assert np.mean(values < low - width) <= tail
    assert np.mean(values > high + width) <= tail
    assert low == pytest.approx(np.quantile(values, tail), abs=0.01)
    assert high == pytest.approx(np.quantile(values, 1 - tail), abs=0.01)


def test_percentile_100_is_minmax():
    statistics = observed(np.random.default_rng(0).standard_normal(5000))
    assert percentile.choose(statistics, 100.0) == (statistics.low, statistics.high)


def test_mse_is_better_than_minmax_on_heavy_tails():
    statistics = heavy_tailed()
    best, whole = (mean_squared_error(statistics, observer.choose(statistics, 99.99)) for observer in (mse, minmax))
    assert best < 0.4 * whole


def test_mse_is_never_worse_than_minmax_in_its_own_measure():
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(8000), rng.uniform(-1, 5, 8000), rng.exponential(size=8000))
    for statistics in (*map(observed, samples), heavy_tailed()):
        chosen, whole = (observer.choose(statistics, 99.99) for observer in (mse, minmax))
        assert mean_squared_error(statistics, chosen) <= mean_squared_error(statistics, whole) * 1.00001


def test_squared_error_by_hand():
    # The grid 0 .. 255 has steps of 1: 0.25 and 300 are off by 0.25 and by 45.
    error = mse.squared_error(0.0, 255.0, np.asarray([0.25, 300.0, 7.0]), np.asarray([2.0, 1.0, 5.0]))
    assert error == pytest.approx(2 * 0.25**2 + 45.0**2)


def test_entropy_keeps_the_tail_that_carries_mass():
    values = np.random.default_rng(0).standard_normal(200_000)
    low, high = entropy.choose(observed(values), 99.99)
    assert 2.5 < high <= 4.8
    assert -4.8 <= low < -2.5


def test_the_divergence_of_a_distribution_that_fits_the_levels_is_zero():
    magnitude = np.zeros(BINS // 2)
    magnitude[:128] = np.arange(1, 129)
    assert entropy._divergence(magnitude, 128) == pytest.approx(0.0, abs=1e-12)
    assert entropy._divergence(np.zeros(BINS // 2), 512) == 0.0
