"""Layers as matrix products: what rows and columns give is what the layer gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.exact_sums import Rows
from edgecnn.integer_graph import IntegerNode
from edgecnn.quant.matrices import columns, second_moments

EVERY = 10**6
CONV = {"strides": (2, 1), "pads": (1, 0, 1, 2), "dilations": (1, 2)}


def convolution(group: int) -> tuple[IntegerNode, np.ndarray, np.ndarray, np.ndarray]:
    """Return a node, its input, its weight and its output without bias."""
    rng = np.random.default_rng(group)
    x = rng.standard_normal((1, 4, 9, 10)).astype(np.float32)
    weight = rng.standard_normal((8, 4 // group, 3, 2)).astype(np.float32)
    padded = nn.functional.pad(torch.from_numpy(x), (0, 2, 1, 1))
    wanted = nn.functional.conv2d(padded, torch.from_numpy(weight), None, (2, 1), 0, (1, 2), group)
    return IntegerNode("n", "Conv", ("x", "w", "b"), "y", {**CONV, "group": group}), x, weight, wanted.numpy()


def transposed(group: int, kernel: int = 2) -> tuple[IntegerNode, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(group)
    x = rng.standard_normal((1, 4, 5, 6)).astype(np.float32)
    weight = rng.standard_normal((4, 6 // group, kernel, kernel)).astype(np.float32)
    wanted = nn.functional.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(weight), None, 2, groups=group)
    return (
        IntegerNode("n", "ConvTranspose", ("x", "w", "b"), "y", {"strides": (2, 2), "group": group}),
        x,
        weight,
        wanted,
    )


@pytest.mark.parametrize("group", [1, 2, 4])
def test_rows_times_columns_are_the_convolution(group):
    node, x, weight, wanted = convolution(group)
    matrix, inputs = Rows.of(node, weight.shape).split(weight), columns(node, x, weight.shape[2:], EVERY)
    got = np.einsum("gok,gpk->gop", matrix, inputs).reshape(8, -1)
    np.testing.assert_allclose(got, wanted[0].reshape(8, -1), atol=1e-5)


@pytest.mark.parametrize("group", [1, 2])
def test_rows_times_columns_are_the_taps_of_a_transposed_convolution(group):
    """With the stride as large as the kernel, every output is one tap of one pixel."""
    node, x, weight, wanted = transposed(group)
    pixels = columns(node, x, (2, 2), EVERY)
    per_tap = Rows.of(node, weight.shape).split(weight).reshape(group, 6 // group, -1, 4)
    got = np.einsum("goct,gpc->gopt", per_tap, pixels).reshape(6, 5, 6, 2, 2).transpose(0, 1, 3, 2, 4)
    np.testing.assert_allclose(got.reshape(6, 10, 12), wanted[0], atol=1e-5)


@pytest.mark.parametrize("group", [1, 4])
def test_second_moments_give_the_mean_square_of_the_outputs(group):
    node, _, weight, _ = convolution(group)
    pictures = [np.random.default_rng(seed).integers(0, 256, (1, 4, 9, 10), np.uint8) for seed in range(3)]
    moments = second_moments(node, pictures, weight.shape[2:], 100, EVERY)
    squares = np.einsum(
        "gok,gkl,gol->go", Rows.of(node, weight.shape).split(weight), moments, Rows.of(node, weight.shape).split(weight)
    ).ravel()
    padded = [nn.functional.pad(torch.from_numpy(item.astype(np.float32) - 100), (0, 2, 1, 1)) for item in pictures]
    outputs = [nn.functional.conv2d(item, torch.from_numpy(weight), None, (2, 1), 0, (1, 2), group) for item in padded]
    np.testing.assert_allclose(squares, torch.cat(outputs).square().mean((0, 2, 3)).numpy(), rtol=1e-4)


def test_taps_of_a_transposed_convolution_do_not_know_of_each_other():
    node, _, weight, _ = transposed(1)
    moments = second_moments(node, [np.full((1, 4, 5, 6), 3, np.uint8)], weight.shape[2:], 1, EVERY)[0]
    np.testing.assert_array_equal(moments.reshape(4, 4, 4, 4)[:, 0, :, 0], np.full((4, 4), 4.0))
    np.testing.assert_array_equal(moments.reshape(4, 4, 4, 4)[:, 0, :, 1], np.zeros((4, 4)))


def test_no_more_positions_than_asked_for():
    node, x, weight, _ = convolution(1)
    whole, some = (columns(node, x, weight.shape[2:], most) for most in (EVERY, 7))
    assert some.shape == (1, 7, 24)
    assert {row.tobytes() for row in some[0]} <= {row.tobytes() for row in whole[0]}
