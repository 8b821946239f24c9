"""Operators on values worked out by hand: ties, saturation, padding, and what ONNX Runtime is known to get wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.errors import EngineError
from edgecnn.export.onnx import to_model
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams, TensorSpec
from tests.ops.single import by_onnxruntime, by_reference, convolution, single, uint8


def both(graph, *arrays):
    """Run reference and ONNX Runtime, which must agree, and return the integers as a flat list."""
    expected = by_reference(graph, arrays)
    np.testing.assert_array_equal(by_onnxruntime(graph, arrays), expected)
    return expected.ravel().tolist()


def row(*values: int) -> np.ndarray:
    return np.asarray(values, np.uint8).reshape(1, 1, 1, -1)


def pointwise(x: TensorSpec, y: TensorSpec, weight: int, bias: int, scale: float):
    kernel, biases = np.full((1, 1, 1, 1), weight, np.int8), np.asarray([bias], np.int32)
    steps = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    return convolution("Conv", x, kernel, biases, [scale], y, **steps)


def test_conv_rounds_half_to_even_and_saturates():
    x, y = uint8("x", (1, 1, 1, 6), 1.0, 10), uint8("y", (1, 1, 1, 6), 2.0, 5)
    graph = pointwise(x, y, weight=1, bias=0, scale=1.0)
    # (x - 10) / 2 rounded half to even, plus 5
    assert both(graph, row(11, 13, 9, 7, 255, 0)) == [5, 7, 5, 3, 127, 0]
    graph = pointwise(x, y, weight=9, bias=0, scale=1.0)
    assert both(graph, row(10, 255, 0, 11, 12, 13)) == [5, 255, 0, 9, 14, 19]


def test_conv_adds_large_biases_exactly():
    x, y = uint8("x", (1, 1, 1, 2), 1.0, 0), uint8("y", (1, 1, 1, 2), 2.0**20, 0)
    # 128.5 by half to even, then a little above it.
    assert both(pointwise(x, y, weight=1, bias=2**27 + 2**19, scale=1.0), row(0, 0)) == [128, 128]
    assert both(pointwise(x, y, weight=1, bias=2**27 + 2**19 + 2**5, scale=1.0), row(0, 1)) == [129, 129]


def test_conv_pads_with_the_zero_point():
    x, y = uint8("x", (1, 1, 1, 3), 1.0, 7), uint8("y", (1, 1, 1, 5), 1.0, 100)
    kernel, bias = np.asarray([1, 2, 4], np.int8).reshape(1, 1, 1, 3), np.zeros(1, np.int32)
    steps = {"strides": (1, 1), "pads": (0, 2, 0, 2), "dilations": (1, 1), "group": 1}
    graph = convolution("Conv", x, kernel, bias, [1.0], y, **steps)
    assert both(graph, row(8, 9, 10)) == [104, 110, 117, 108, 103]


def test_conv_transpose_by_hand():
    x, y = uint8("x", (1, 1, 1, 2), 1.0, 0), uint8("y", (1, 1, 1, 5), 1.0, 0)
    kernel, bias = np.asarray([1, 2, 3], np.int8).reshape(1, 1, 1, 3), np.asarray([10], np.int32)
    steps = {"strides": (1, 2), "pads": (0, 0, 0, 0), "output_padding": (0, 0), "dilations": (1, 1), "group": 1}
    graph = convolution("ConvTranspose", x, kernel, bias, [1.0], y, **steps)
    assert both(graph, row(1, 10)) == [11, 12, 23, 30, 40]


def test_gemm_by_hand():
    x, y = uint8("x", (1, 3), 1.0, 1), uint8("y", (1, 2), 1.0, 50)
    weight, bias = np.asarray([[1, 2, 3], [-1, 0, 5]], np.int8), np.asarray([7, -7], np.int32)
    graph = convolution("Gemm", x, weight, bias, [1.0, 2.0], y)
    # (0, 1, 2): 0 + 2 + 6 + 7 = 15, and (10 - 7) * 2 = 6
    assert both(graph, np.asarray([[1, 2, 3]], np.uint8)) == [65, 56]


def test_max_pool_padding_never_wins():
    x, y = uint8("x", (1, 1, 1, 3), 1.0, 200), uint8("y", (1, 1, 1, 3), 1.0, 200)
    graph = single("MaxPool", (x,), y, kernel=(1, 3), strides=(1, 1), pads=(0, 1, 0, 1))
    assert both(graph, row(3, 1, 2)) == [3, 3, 2]


def test_average_pool_does_not_count_padding():
    x, y = uint8("x", (1, 1, 1, 3), 1.0, 4), uint8("y", (1, 1, 1, 3), 1.0, 4)
    graph = single("AveragePool", (x,), y, kernel=(1, 3), strides=(1, 1), pads=(0, 1, 0, 1))
    assert both(graph, row(10, 20, 60)) == [15, 30, 40]


@pytest.mark.parametrize("zero_point", [0, 77])
def test_average_pool_with_padding_rounds_half_away_from_the_middle_of_the_grid(zero_point):
    x, y = uint8("x", (1, 1, 1, 4), 0.1, zero_point), uint8("y", (1, 1, 1, 5), 0.1, zero_point)
    graph = single("AveragePool", (x,), y, kernel=(1, 2), strides=(1, 1), pads=(0, 1, 0, 1))
    # Means: 10, 10.5, 11.5, 132.5, 253.
    assert both(graph, np.asarray([[[[10, 11, 12, 253]]]], np.uint8)) == [10, 10, 11, 133, 253]


@pytest.mark.parametrize("zero_point", [0, 1, 100, 255])
def test_average_pool_rounds_half_to_even_steps_from_zero(zero_point):
    x, y = uint8("x", (1, 1, 1, 4), 0.037, zero_point), uint8("y", (1, 1, 1, 2), 0.037, zero_point)
    graph = single("AveragePool", (x,), y, kernel=(1, 2), strides=(1, 2), pads=(0, 0, 0, 0))
    pairs = [(first, first + 1) for first in range(0, 254)]
    for (a, b), (c, d) in zip(pairs[::12], pairs[1::12], strict=True):
        steps = [round((p + q) / 2 - zero_point) + zero_point for p, q in ((a, b), (c, d))]  # round() is half to even
        assert both(graph, row(a, b, c, d)) == steps


def test_a_mean_is_rounded_once():
    x, y = uint8("x", (1, 1, 1, 4), 1.0, 0), uint8("y", (1, 1, 1, 1), 0.5, 0)
    graph = single("ReduceMean", (x,), y, axes=(2, 3), keepdims=1)
    assert both(graph, row(1, 2, 2, 2)) == [4]  # 1.75 / 0.5 = 3.5


def test_add_and_sub_saturate_at_both_ends():
    a, b, y = uint8("a", (1, 3), 1.0, 128), uint8("b", (1, 3), 2.0, 128), uint8("y", (1, 3), 1.0, 128)
    left, right = np.asarray([[255, 0, 130]], np.uint8), np.asarray([[255, 0, 129]], np.uint8)
    assert both(single("Add", (a, b), y), left, right) == [255, 0, 132]
    assert both(single("Sub", (a, b), y), left, right) == [1, 255, 128]


def test_a_product_of_zero_points_is_zero():
    a, b, y = uint8("a", (1, 3), 0.5, 255), uint8("b", (1, 3), 0.5, 3), uint8("y", (1, 3), 0.25, 9)
    left, right = np.asarray([[255, 0, 253]], np.uint8), np.asarray([[7, 3, 2]], np.uint8)
    assert both(single("Mul", (a, b), y), left, right) == [9, 9, 11]


def test_a_requantisation_clamps_as_a_relu():
    x, y = uint8("x", (1, 4), 0.5, 100), uint8("y", (1, 4), 0.5, 0)
    assert both(single("Requantize", (x,), y), np.asarray([[0, 99, 100, 180]], np.uint8)) == [0, 0, 0, 80]


def test_argmax_takes_the_first_of_equals():
    x, y = uint8("x", (1, 5)), TensorSpec("y", (1,), "int64")
    graph = single("ArgMax", (x,), y, axis=1, keepdims=0)
    assert both(graph, np.asarray([[3, 9, 9, 1, 9]], np.uint8)) == [1]
    assert both(graph, np.zeros((1, 5), np.uint8)) == [0]


def test_sigmoid_reaches_both_ends_of_its_grid():
    x, y = uint8("x", (1, 3), 0.2, 128), uint8("y", (1, 3), 1 / 256, 0)
    assert both(single("Sigmoid", (x,), y), np.asarray([[0, 128, 255]], np.uint8)) == [0, 128, 255]


def test_softmax_does_not_overflow():
    x, y = uint8("x", (1, 3), 10.0, 0), uint8("y", (1, 3), 1 / 256, 0)
    assert both(single("Softmax", (x,), y, axis=1), np.asarray([[255, 255, 0]], np.uint8)) == [128, 128, 0]


@pytest.mark.parametrize(
    ("length", "size", "coordinates", "rounding"),
    [
        (14, 4, "asymmetric", "floor"),
        (26, 2, "asymmetric", "floor"),
        (21, 49, "asymmetric", "ceil"),
        (56, 64, "asymmetric", "round_prefer_ceil"),
        (15, 1, "half_pixel", "floor"),
        (31, 37, "half_pixel", "floor"),
        (56, 31, "half_pixel", "round_prefer_floor"),
    ],
)
def test_nearest_positions_that_float32_misses_are_written_out(length, size, coordinates, rounding):
    """ONNX Runtime's Resize reads another pixel there; the artefact gathers the right ones."""
    x, y = uint8("x", (1, 1, length, length)), uint8("y", (1, 1, size, size))
    options = {"sizes": (size, size), "mode": "nearest", "coordinates": coordinates, "rounding": rounding}
    graph = single("Resize", (x,), y, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, length, length), dtype=np.uint8)
    both(graph, pixels)
    assert [node.op_type for node in to_model(graph).graph.node] == ["Gather", "Gather"]


@pytest.mark.parametrize(("length", "size"), [(7, 14), (7, 21), (10, 20), (20, 10), (5, 5), (16, 4)])
def test_usual_factors_are_written_as_resize(length, size):
    x, y = uint8("x", (1, 1, length, length)), uint8("y", (1, 1, size, size))
    options = {"sizes": (size, size), "mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
    assert [node.op_type for node in to_model(single("Resize", (x,), y, **options)).graph.node] == ["Resize"]


def test_bilinear_to_twice_the_size_by_hand():
    x, y = uint8("x", (1, 1, 1, 2)), uint8("y", (1, 1, 1, 4))
    graph = single("Resize", (x,), y, sizes=(1, 4), mode="linear", coordinates="half_pixel", rounding="floor")
    assert both(graph, row(0, 100)) == [0, 25, 75, 100]


def test_wrong_shapes_are_noticed():
    x = TensorSpec("x", (1, 4), "uint8", QuantParams.per_tensor(1.0))
    graph = single("Reshape", (x,), TensorSpec("y", (2, 2), "uint8", x.quant), shape=(4, 1))
    with pytest.raises(EngineError, match=r"Reshape 'reshape' gave uint8 \(4, 1\), the graph says uint8 \(2, 2\)"):
        run_graph(graph, [np.zeros((1, 4), np.uint8)])
