"""Affine arithmetic: rounding half to even, saturation, axes, ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.affine import along, dequantise, grid_for_range, multiplier, quantise, requantise, saturate
from edgecnn.tensor import QuantParams

UNIT = QuantParams.per_tensor(1.0)
finite = st.floats(-1e6, 1e6, width=32)


def test_quantise_rounds_half_to_even():
    values = np.asarray([0.5, 1.5, 2.5, 3.5, 254.5])
    np.testing.assert_array_equal(quantise(values, UNIT, "uint8"), np.asarray([0, 2, 2, 4, 254], np.uint8))
    np.testing.assert_array_equal(quantise(-values[:4], UNIT, "int8"), np.asarray([0, -2, -2, -4], np.int8))


def test_quantise_rounds_before_it_adds_the_zero_point():
    odd = QuantParams.per_tensor(1.0, 1)
    np.testing.assert_array_equal(quantise([0.5, 1.5, 2.5], odd, "uint8"), np.asarray([1, 3, 3], np.uint8))


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("int32", -(2**31), 2**31 - 1)]
)
def test_quantise_saturates(dtype, low, high):
    integers = quantise([-1e30, 1e30, -np.inf, np.inf], UNIT, dtype)
    assert integers.dtype == dtype
    assert integers.tolist() == [low, high, low, high]


def test_int32_biases_are_exact_beyond_float32():
    exact = [2**24 + 1, -(2**30) - 7, 2**31 - 1, 123456789]
    assert quantise(exact, UNIT, "int32").tolist() == exact


def test_quantise_per_channel_follows_the_axis():
    values = np.asarray([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    by_row = quantise(values, QuantParams.per_channel([1.0, 0.5], 0), "int8")
    by_column = quantise(values, QuantParams.per_channel([1.0, 0.5, 0.25], 1), "int8")
    assert by_row.tolist() == [[1, 1, 1], [4, 4, 4]]
    assert by_column.tolist() == [[1, 2, 4], [2, 4, 8]]


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_dequantise_per_channel_undoes_quantise(axis):
    shape = (2, 3, 4, 5)
    integers = np.random.default_rng(axis).integers(-127, 128, shape).astype(np.int8)
    grid = QuantParams.per_channel(np.linspace(0.01, 0.5, shape[axis]), axis)
    real = dequantise(integers, grid)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(real, np.moveaxis(np.moveaxis(integers, axis, -1) * grid.scales, -1, axis))
    np.testing.assert_array_equal(quantise(real, grid, "int8"), integers)


def test_dequantise_takes_the_zero_point_off_before_it_scales():
    real = dequantise(np.asarray([0, 128, 255], np.uint8), QuantParams.per_tensor(0.5, 128))
    assert real.tolist() == [-64.0, 0.0, 63.5]


def test_requantise_by_hand():
    # 5 * 0.5 = 2.5 -> 2 and 7 * 0.5 = 3.5 -> 4 by half to even; then the zero point; then saturation.
    sums = np.asarray([5, 7, -5, -7, 1000, -1000])
    assert requantise(sums, np.asarray([0.5], np.float32), 10).tolist() == [12, 14, 8, 6, 255, 0]
    assert requantise(sums, np.asarray([0.5], np.float32), 0, "int8").tolist() == [2, 4, -2, -4, 127, -128]


def test_requantise_per_channel():
    sums = np.full((1, 2, 1, 2), 10, np.int32)
    factors = np.asarray([1.0, 0.1], np.float32).reshape(1, 2, 1, 1)
    assert requantise(sums, factors, 3).ravel().tolist() == [13, 13, 4, 4]


def test_multiplier_is_scale_in_times_weight_over_out():
    factors = multiplier(QuantParams.per_tensor(0.5), QuantParams.per_channel([0.1, 0.2], 0), QuantParams.per_tensor(4))
    assert factors.dtype == np.float32
    np.testing.assert_allclose(factors, [0.0125, 0.025], rtol=1e-6)


def test_along_puts_channels_on_their_axis():
    scales = np.asarray([1.0, 2.0], np.float32)
    assert along(scales, 1, 4).shape == (1, 2, 1, 1)
    assert along(scales[:1], None, 4).shape == ()


def test_saturate_knows_no_range_of_float32():
    with pytest.raises(ValueError, match="float32 has no integer range"):
        saturate(np.zeros(1, np.float32), "float32")


def test_a_range_around_zero():
    assert grid_for_range(-1.0, 1.55) == QuantParams.per_tensor(2.55 / 255, 100)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"), [(1.0, 2.55, 0.01, 0), (-2.55, -1.0, 0.01, 255), (0.0, 6.0, 6 / 255, 0)]
)
def test_a_one_sided_range_is_widened_to_zero(low, high, scale, zero_point):
    assert grid_for_range(low, high) == QuantParams.per_tensor(scale, zero_point)


@pytest.mark.parametrize("low_high", [(0.0, 0.0), (-0.0, 0.0), (0.0, 1e-44), (-1e-40, 1e-40)])
def test_a_range_of_no_width_gives_scale_one(low_high):
    assert grid_for_range(*low_high) == QuantParams.per_tensor(1.0, 0)


@pytest.mark.parametrize(
    "low_high", [(float("nan"), 1.0), (0.0, float("nan")), (float("-inf"), 1.0), (0.0, float("inf"))]
)
def test_a_range_must_be_finite(low_high):
    with pytest.raises(ValueError, match="a range must be finite"):
        grid_for_range(*low_high)


def test_fewer_levels_make_wider_steps():
    assert grid_for_range(-1.0, 1.0, levels=127) == QuantParams.per_tensor(2 / 127, 64)


@given(finite, finite)
def test_every_range_holds_zero_exactly_and_its_ends_to_half_a_step(a, b):
    low, high = min(a, b), max(a, b)
    grid = grid_for_range(low, high)
    scale, zero_point = grid.scale[0], grid.zero_point
    assert 0 <= zero_point <= 255
    assert dequantise(quantise([0.0], grid, "uint8"), grid).tolist() == [0.0]
    ends = np.asarray([min(low, 0.0), max(high, 0.0)])
    assert np.abs(dequantise(quantise(ends, grid, "uint8"), grid) - ends).max() <= scale * 0.5001 or scale == 1.0


@given(st.integers(0, 255), st.floats(2**-20, 2**10, width=32))
def test_all_integers_survive_the_way_to_real_and_back(zero_point, scale):
    grid = QuantParams.per_tensor(scale, zero_point)
    integers = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(dequantise(integers, grid), grid, "uint8"), integers)
