"""Sliding windows: output sizes, and exact convolution against plain loops and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgecnn.windows import convolve, exact_product, output_size, pad_map, windows

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((28, 3, 1, 1, 1), 28),
        ((28, 2, 2, 0, 0), 14),
        ((224, 7, 2, 3, 3), 112),
        ((7, 3, 2, 0, 1), 3),
        ((9, 3, 1, 0, 0, 2), 5),
        ((5, 5, 1, 0, 0), 1),
    ],
)
def test_output_size(arguments, expected):
    assert output_size(*arguments) == expected


@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)
)
def test_output_size_counts_the_positions_at_which_the_kernel_fits(size, kernel, stride, begin, end, dilation):
    extent = dilation * (kernel - 1) + 1
    positions = [at for at in range(0, size + begin + end, stride) if at + extent <= size + begin + end]
    assume(positions)
    assert output_size(size, kernel, stride, begin, end, dilation) == len(positions)


def test_pad_map_takes_top_left_bottom_right():
    padded = pad_map(np.ones((1, 1, 2, 2), np.int32), (1, 0, 2, 3), 9)
    expected = [[9, 9, 9, 9, 9], [1, 1, 9, 9, 9], [1, 1, 9, 9, 9], [9] * 5, [9] * 5]
    assert padded[0, 0].tolist() == expected


def test_windows_with_stride_and_dilation():
    view = windows(np.arange(25).reshape(1, 1, 5, 5), (2, 2), (1, 2), (3, 1))
    assert view.shape == (1, 1, 2, 2, 2, 2)
    assert view[0, 0, 1, 1].tolist() == [[7, 8], [22, 23]]


def test_convolve_against_plain_loops():
    rng = np.random.default_rng(0)
    x = rng.integers(-255, 256, (2, 3, 5, 6)).astype(np.int32)
    weight = rng.integers(-127, 128, (4, 3, 3, 2)).astype(np.int8)
    total = convolve(x, weight, (2, 1), (1, 2), 1)
    assert total.shape == (2, 4, 2, 4)
    for batch, out, row, column in np.ndindex(*total.shape):
        patch = x[batch, :, 2 * row : 2 * row + 3, column : column + 3 : 2]
        assert total[batch, out, row, column] == int((patch.astype(np.int64) * weight[out]).sum())


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), pairs, pairs, pairs)
def test_convolve_is_torch_convolution(seed, group, inputs, outputs, kernel, strides, dilations):
    rng = np.random.default_rng(seed)
    x = rng.integers(-255, 256, (1, group * inputs, 8, 9)).astype(np.int32)
    weight = rng.integers(-128, 128, (group * outputs, inputs, *kernel)).astype(np.int8)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(x).double(), torch.from_numpy(weight).double(), None, strides, 0, dilations, group
    )
    np.testing.assert_array_equal(convolve(x, weight, strides, dilations, group), expected.numpy())


@pytest.mark.parametrize("terms", [1, 513, 514, 515, 4608])
@pytest.mark.parametrize(("left", "right"), [(-128, 255), (127, 254), (127, -255)])
def test_sums_of_any_length_are_exact(terms, left, right):
    rows, columns = np.full((2, terms), left, np.int8), np.full((terms, 3), right, np.float32)
    rows[1, 0] = 1  # an odd sum, which float32 loses beyond 2**24
    total = exact_product(rows, columns)
    assert total.tolist() == [[left * right * terms] * 3, [left * right * (terms - 1) + right] * 3]


def test_a_long_convolution_is_exact():
    x, weight = np.full((1, 600, 3, 3), 255, np.int32), np.full((2, 600, 3, 3), 127, np.int8)
    weight[1, 0, 0, 0] = 126
    total = convolve(x, weight, (1, 1), (1, 1), 1)
    assert total.ravel().tolist() == [255 * 127 * 5400, 255 * 127 * 5400 - 255]


def test_a_large_depthwise_kernel_is_exact():
    x, weight = np.full((1, 2, 31, 31), 255, np.int32), np.full((2, 1, 31, 31), 127, np.int8)
    weight[1, 0, 0, 0] = 126
    assert convolve(x, weight, (1, 1), (1, 1), 2).ravel().tolist() == [255 * 127 * 961, 255 * 127 * 961 - 255]


def test_batches_are_convolved_one_by_one():
    rng = np.random.default_rng(0)
    x = rng.integers(-255, 256, (3, 4, 6, 6)).astype(np.int32)
    weight = rng.integers(-127, 128, (6, 2, 3, 3)).astype(np.int8)
    whole = convolve(x, weight, (1, 1), (1, 1), 2)
    for index in range(3):
        np.testing.assert_array_equal(
            whole[index : index + 1], convolve(x[index : index + 1], weight, (1, 1), (1, 1), 2)
        )
