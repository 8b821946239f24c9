"""Weights and biases as integers: dead, tiny and huge channels, narrowed grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.affine import dequantise, multiplier, quantise
from edgecnn.quant.weights import (
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


def test_channels_first_moves_the_output_channels_to_the_front():
    weight = random_weight((2, 3, 4, 5))
    assert channels_first(weight, 0).shape == (2, 60)
    np.testing.assert_array_equal(channels_first(weight, 1)[2], weight[:, 2].ravel())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("bits", "top"), [(8, 127), (7, 63)])
def test_minmax_scales_reach_the_largest_weight_of_every_channel(axis, bits, top):
    weight = random_weight((4, 6, 3, 3))
    largest = np.abs(np.moveaxis(weight, axis, 0)).reshape(weight.shape[axis], -1).max(axis=1)
    scales = weight_scales(weight, axis, bits, "minmax")
    np.testing.assert_allclose(scales * top, largest, rtol=1e-6)
    integers = quantise_weight(weight, QuantParams.per_channel(scales, axis), bits)
    reached = np.abs(np.moveaxis(integers, axis, 0).astype(int)).reshape(weight.shape[axis], -1).max(axis=1)
    assert (reached == top).all()


def test_int8_weights_never_take_minus_128():
    integers = quantise_weight(np.asarray([[-1e9, 1e9]], np.float32), QuantParams.per_channel([1.0], 0), 8)
    assert integers.tolist() == [[-127, 127]]


def test_seven_bits_stay_inside_63():
    integers = quantise_weight(random_weight((8, 32)) * 100, QuantParams.per_channel(np.full(8, 0.01), 0), 7)
    assert (integers.min(), integers.max()) == (-63, 63)


def test_mse_scales_have_no_larger_error_than_minmax():
    weight = random_weight((16, 20000))
    errors = {}
    for method in ("minmax", "mse"):
        grid = QuantParams.per_channel(weight_scales(weight, 0, 8, method), 0)
        errors[method] = np.square(dequantise(quantise_weight(weight, grid, 8), grid) - weight).sum(axis=1)
    assert (errors["mse"] <= errors["minmax"] * (1 + 1e-6)).all()
    assert (errors["mse"] < errors["minmax"] * 0.999).any()


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_a_dead_channel_gives_its_bias_and_no_nan(method):
    weight, bias = random_weight((3, 8)), np.asarray([0.5, -1.25, 0.0], np.float32)
    weight[1] = 0
    scales = weight_scales(weight, 0, 8, method)
    assert scales[1] == 0.0
    grid = weight_grid(scales, 0, bias, IN, OUT)
    integers = quantise_weight(weight, grid, 8)
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
    grid = weight_grid(weight_scales(weight, 0, 8, "minmax"), 0, biases, source, target)
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
    scales = weight_scales(weight, 0, 8, "minmax")
    grid = weight_grid(scales, 0, bias, IN, OUT)
    assert grid.scale[0] > 10 * scales[0]
    assert grid.scale[1] == pytest.approx(scales[1])


def test_the_accumulators_grid_is_s_in_times_s_w():
    grid = bias_grid(IN, QuantParams.per_channel([0.5, 0.25], 1))
    assert grid.axis == 0
    np.testing.assert_allclose(grid.scales, [0.01, 0.005], rtol=1e-6)
