"""What the compact histograms say against a direct count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgecnn.affine import grid_for_range, quantise
from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.quant import pipeline
from edgecnn.quant.saturation import BINS, TensorFit, activation_fits, weight_fits
from edgecnn.quant.statistics import Statistics
from edgecnn.tensor import TensorSpec
from tests.quant.networks import FAST, in_normal_form, pictures


def fit_of(values: np.ndarray, low: float, high: float) -> TensorFit:
    seen, grid = Statistics("x"), grid_for_range(low, high)
    seen.update(values.astype(np.float32))
    spec = TensorSpec("x", (1, 8), "uint8", grid)
    (fit,) = activation_fits(IntegerGraph("net", ("x",), ("x",), (), {"x": spec}, {}), {"x": seen})
    return fit


def normal(seed: int = 0, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(4000) * spread


@given(st.integers(0, 50), st.floats(0.1, 100), st.floats(0.2, 3), st.floats(0.2, 3))
def test_saturation_is_the_share_of_values_that_the_grid_cuts_off(
    seed: int, spread: float, below: float, above: float
) -> None:
    values = normal(seed, spread).astype(np.float32)
    grid = grid_for_range(-below * spread, above * spread)
    steps = np.rint(values / grid.scales[0]) + grid.zero_point
    fit = fit_of(values, -below * spread, above * spread)
    # A bin of the histogram holds few values; one bin a side may be counted to the wrong side.
    assert fit.below == pytest.approx((steps < 0).mean(), abs=0.004)
    assert fit.above == pytest.approx((steps > 255).mean(), abs=0.004)
    assert fit.saturated == fit.below + fit.above


def test_codes_are_counted() -> None:
    values = normal()
    integers = quantise(values, grid_for_range(-8, 8), "uint8")
    shares = np.bincount(integers) / integers.size
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    fit = fit_of(values, -8, 8)
    assert fit.codes == pytest.approx((shares > 0).sum(), abs=2)
    assert fit.effective_codes == pytest.approx(2**entropy, rel=0.02)
    assert 2 * fit_of(values, -16, 16).effective_codes == pytest.approx(fit.effective_codes, rel=0.02)


def test_the_ends_of_a_clamp_do_not_saturate() -> None:
    """A grid that stops a little short of 6 still holds 6 to within half a step."""
    values = np.concatenate([np.full(100, 6.0), np.linspace(0, 6, 300)])
    assert fit_of(values, 0, 5.995).saturated == 0
    assert fit_of(values, 0, 5.9).above == pytest.approx(((values > 5.9 + 5.9 / 510).mean()), abs=0.003)


def test_the_histogram_spans_what_was_seen() -> None:
    values = normal(3)
    fit = fit_of(values, -1, 1)
    assert len(fit.histogram) == BINS
    assert sum(fit.histogram) == pytest.approx(1)
    assert fit.observed == (np.float32(values.min()), np.float32(values.max()))
    counts = np.histogram(values, BINS)[0] / values.size
    assert np.abs(np.cumsum(counts) - np.cumsum(fit.histogram)).max() < 0.01


def test_a_constant_tensor() -> None:
    fit = fit_of(np.zeros(100), 0, 0)
    assert (fit.histogram, fit.codes, fit.effective_codes, fit.saturated) == ((), 1, 1.0, 0.0)


def test_every_observed_tensor_of_a_network_is_there() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 1))
    result = pipeline.quantise(in_normal_form(network), pictures(2), FAST)
    fits = activation_fits(result.graph, result.statistics)
    assert [fit.name for fit in fits] == list(result.statistics)
    assert all(fit.saturated == 0 for fit in fits)
    assert all(fit.chosen[0] <= 0 <= fit.chosen[1] for fit in fits)


def test_weights_dead_channels_and_scales() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 1, bias=False)
    rows = [[1.0, 0.5, -1.0], [0.0, 0.0, 0.0], [8.0, 1.0, 1.0], [0.1, 0.02, -0.03]]
    with torch.no_grad():
        network.weight.copy_(torch.tensor(rows)[..., None, None])
    (fit,) = weight_fits(pipeline.quantise(in_normal_form(network), pictures(2), FAST).graph)
    assert (fit.channels, fit.dead) == (4, 1)
    assert fit.scale_ratio == pytest.approx(80, rel=0.01)
    # Two of the first channel, one each of the third and the fourth, of twelve.
    assert fit.at_ends == pytest.approx(4 / 12)


def test_channels_of_a_transposed_convolution_are_its_outputs() -> None:
    torch.manual_seed(1)
    network = nn.ConvTranspose2d(3, 5, 2, 2)
    with torch.no_grad():
        network.weight[:, 2] = 0
    graph = pipeline.quantise(in_normal_form(network, 8), pictures(2, 8), FAST).graph
    # In front of it stands the 1x1 convolution that takes the frame.
    _, fit = weight_fits(graph)
    assert (fit.channels, fit.dead) == (5, 1)


def test_a_node_without_weights_has_no_row() -> None:
    grid = grid_for_range(-1, 1)
    tensors = {name: TensorSpec(name, (1, 2), "uint8", grid) for name in "xy"}
    graph = IntegerGraph("net", ("x",), ("y",), (IntegerNode("sum", "Add", ("x", "x"), "y"),), tensors, {})
    assert weight_fits(graph) == []
