"""Weights and biases as integers: dead, tiny and huge channels, pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.affine import dequantise, multiplier, quantise
from edgecnn.exact_sums import PAIR, TOP, Rows, largest_pairs, nearest
from edgecnn.quant.weights import (
    COARSEST,
    SMALLEST_FACTOR,
    bias_grid,
    channels_first,
    quantise_weight,
    weight_grid,
    weight_scales,
)
from edgecnn.tensor import QuantParams

IN, OUT = QuantParams.per_tensor(0.02, 3), QuantParams.per_tensor(0.1, 120)


def random_weight(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def scales_of(weight: np.ndarray, method: str) -> np.ndarray:
    layout = layout_of(weight)
    return weight_scales(channels_first(weight, layout), layout.partners(), method)


def layout_of(weight: np.ndarray) -> Rows:
    return Rows("Conv" if weight.ndim == 4 else "Gemm", 1, weight.shape)


def grid_of(scales: np.ndarray, weight: np.ndarray, bias: np.ndarray, source=IN, target=OUT) -> QuantParams:
    return weight_grid(scales, 0, channels_first(weight, layout_of(weight)), bias, source, target)


def test_channels_first_moves_the_output_channels_to_the_front():
    weight = random_weight((2, 3, 4, 5))
    assert channels_first(weight, Rows("Conv", 1, weight.shape)).shape == (2, 60)
    transposed = channels_first(weight, Rows("ConvTranspose", 1, weight.shape))
    np.testing.assert_array_equal(transposed[2], weight[:, 2].ravel())


def test_minmax_scales_reach_the_largest_weight_or_the_largest_pair():
    weight = random_weight((64, 6, 3, 3))
    layout, scales = layout_of(weight), scales_of(weight, "minmax")
    integers = layout.split(quantise_weight(weight, QuantParams.per_channel(scales, 0), layout)).astype(int)
    largest = np.abs(integers).max(axis=2)[0]
    pairs = largest_pairs(integers, layout.partners())[0]
    assert ((largest == TOP) | (pairs >= PAIR - 1)).all()
    assert (largest <= TOP).all()
    assert (pairs <= PAIR).all()
    # Both happen: a single large weight keeps all 8 bits, two large neighbours share them.
    assert 0 < (largest == TOP).sum() < 64


def test_pairs_cost_next_to_nothing_where_large_weights_stand_alone():
    """Two neighbours of the same sign are what costs; 7 bits for all would cost 6 dB."""
    weight = random_weight((32, 16, 3, 3))
    noise = {}
    for name, layout in (("free", Rows("Conv", 512, (512, 1, 3, 3))), ("paired", layout_of(weight))):
        rows = channels_first(weight, layout_of(weight))
        partners = np.empty((0, rows.shape[1]), np.int64) if name == "free" else layout.partners()
        scales = weight_scales(rows, partners, "mse")[:, None]
        noise[name] = np.square(nearest(rows / scales, partners) * scales - rows).mean()
    assert 1 < noise["paired"] / noise["free"] < 10**0.25


def test_int8_weights_never_take_minus_128():
    weight = np.asarray([[-1e9, 1e9]], np.float32)
    assert quantise_weight(weight, QuantParams.per_channel([1.0], 0), layout_of(weight)).tolist() == [[-127, 127]]


def test_mse_scales_have_no_larger_error_than_minmax():
    weight = random_weight((16, 20000))
    errors = {}
    for method in ("minmax", "mse"):
        grid = QuantParams.per_channel(scales_of(weight, method), 0)
        errors[method] = np.square(dequantise(quantise_weight(weight, grid, layout_of(weight)), grid) - weight).sum(
            axis=1
        )
    assert (errors["mse"] <= errors["minmax"] * (1 + 1e-6)).all()
    assert (errors["mse"] < errors["minmax"] * 0.999).any()


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_a_dead_channel_gives_its_bias_and_no_nan(method):
    weight, bias = random_weight((3, 8)), np.asarray([0.5, -1.25, 0.0], np.float32)
    weight[1] = 0
    scales = scales_of(weight, method)
    assert scales[1] == 0.0
    grid = grid_of(scales, weight, bias)
    integers = quantise_weight(weight, grid, layout_of(weight))
    assert integers[1].tolist() == [0] * 8
    sums = bias_grid(IN, grid)
    real = dequantise(quantise(bias, sums, "int32"), sums)
    assert np.abs(real - bias).max() <= OUT.scale[0] / 2
    assert np.isfinite(multiplier(IN, grid, OUT)).all()


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([0.0, 1e-44, 1e-38, 1e-30, 1e-12, 1e-3, 1.0, 1e4]), min_size=1, max_size=6),
    st.sampled_from([0.0, 1e-30, 1.0, -1e3, 1e6, -1e12, 1e20]),
    st.floats(2**-20, 2**10),
    st.floats(2**-20, 2**10),
)
def test_no_channel_is_so_extreme_that_it_cannot_be_represented(sizes, bias, s_in, s_out):
    source, target = QuantParams.per_tensor(s_in), QuantParams.per_tensor(s_out)
    weight = (random_weight((len(sizes), 5)).T * np.asarray(sizes)).T.astype(np.float32)
    biases = np.full(len(sizes), bias, np.float32)
    grid = grid_of(scales_of(weight, "minmax"), weight, biases, source, target)
    factors = multiplier(source, grid, target)
    assert np.isfinite(factors).all()
    assert (factors >= SMALLEST_FACTOR * 0.999).all()
    sums = bias_grid(source, grid)
    integers = quantise(biases, sums, "int32").astype(np.int64)
    assert np.abs(integers).max() <= 2**30 + 2**8
    # Half a step of the accumulator, and float32 in the real bias itself.
    assert (np.abs(integers * sums.scales.astype(np.float64) - biases) <= sums.scales * 0.51 + abs(bias) * 1e-6).all()


def test_a_huge_bias_widens_only_its_own_channel():
    weight, bias = random_weight((2, 8)), np.asarray([1e9, 0.1], np.float32)
    scales = scales_of(weight, "minmax")
    grid = grid_of(scales, weight, bias)
    assert grid.scale[0] > 10 * scales[0]
    assert grid.scale[1] == pytest.approx(scales[1])


def test_the_accumulators_grid_is_s_in_times_s_w():
    grid = bias_grid(IN, QuantParams.per_channel([0.5, 0.25], 1))
    assert grid.axis == 0
    np.testing.assert_allclose(grid.scales, [0.01, 0.005], rtol=1e-6)


def test_float32_decides_no_rounding_where_weights_can_afford_it():
    """Half a factor is how far a result may be from a middle; engines' float32 errs by some 2e-5 on 8-bit results."""
    weight = random_weight((4, 64)) * np.asarray([[1.0], [1e-2], [1e-3], [1e-9]], np.float32)
    grid = grid_of(scales_of(weight, "mse"), weight, np.zeros(4, np.float32))
    factors = multiplier(IN, grid, OUT)
    assert factors[:2].min() / 2 > 2e-5
    largest = np.abs(quantise_weight(weight, grid, layout_of(weight)).astype(int)).max(axis=1)
    assert largest[0] > 64
    assert largest[1:3].min() >= COARSEST - 1
