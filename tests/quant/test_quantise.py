"""From float nodes and ranges to the integer graph: grids, clamps, constants, biases."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.affine import dequantise, grid_for_range
from edgecnn.exact_sums import broken_sums
from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.quant.placement import place
from edgecnn.quant.quantise import constant_ranges, float_parameters, to_integers
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams
from tests.quant.networks import FloatGraphBuilder

Ranges = dict[str, tuple[float, float]]


def quantised(build: FloatGraphBuilder, ranges: Ranges, *outputs: str, **options) -> IntegerGraph:
    graph = build.graph(*outputs)
    return to_integers(graph, place(graph), ranges, **options)


def node_of(graph: IntegerGraph, op: str) -> IntegerNode:
    return next(node for node in graph.nodes if node.op == op)


def frames_like(graph: IntegerGraph, seed: int = 0):
    return [np.random.default_rng(seed).integers(0, 256, graph.spec("frame").shape, dtype=np.uint8)]


def test_a_convolution_gets_its_grids():
    build = FloatGraphBuilder()
    build.conv(build.x, 4, name="y")
    graph = quantised(build, {"y": (-2.0, 3.0)}, "y")
    conv = node_of(graph, "Conv")
    x, weight, bias = (graph.spec(name) for name in conv.inputs)
    assert graph.spec("frame").quant == x.quant == build.frame_grid
    assert graph.spec("y").quant == grid_for_range(-2.0, 3.0)
    assert (weight.dtype, weight.grid.axis, bias.dtype, bias.grid.axis) == ("int8", 0, "int32", 0)
    np.testing.assert_array_equal(bias.grid.scales, x.grid.scales * weight.grid.scales)
    assert np.abs(graph.constants[weight.name].astype(int)).max() <= 127


def test_weights_and_biases_are_within_half_a_step():
    build = FloatGraphBuilder()
    build.conv(build.x, 4, name="y")
    graph = quantised(build, {"y": (-2.0, 3.0)}, "y")
    names = node_of(graph, "Conv").inputs[1:]
    weight, bias = float_parameters(build.nodes[-1])
    for name, real in zip(names, (weight, bias), strict=True):
        grid = graph.spec(name).grid
        steps = grid.scales.reshape(-1, *[1] * (real.ndim - 1))
        assert (np.abs(dequantise(graph.constants[name], grid) - real) <= steps * 0.501 + np.abs(real) * 1e-6).all()


def test_a_missing_bias_is_zeros():
    build = FloatGraphBuilder()
    weight = build.constant(np.ones((5, 3, 1, 1), np.float32))
    build.node("Conv", [build.x, weight], (1, 5, 8, 8), "y")
    graph = quantised(build, {"y": (0.0, 3.0)}, "y")
    assert graph.constants["y/bias"].tolist() == [0] * 5


def test_a_transposed_convolution_is_quantised_along_axis_1():
    build = FloatGraphBuilder()
    weight = build.random.standard_normal((3, 5, 2, 2)).astype(np.float32)
    build.node("ConvTranspose", [build.x, build.constant(weight)], (1, 5, 16, 16), "y", strides=(2, 2))
    graph = quantised(build, {"y": (-2.0, 2.0)}, "y")
    grid = graph.spec("y/weight").grid
    assert grid.axis == 1
    assert len(grid.scale) == graph.constants["y/bias"].size == 5
    assert run_graph(graph, frames_like(graph))["y"].shape == (1, 5, 16, 16)


def test_a_row_that_is_too_long_for_int32_gets_a_coarser_scale():
    """Equal weights of such a row are 32 each, for the sake of rounding: 2**31 / (255 * 32) is 263,172 of them."""
    for inputs, largest in ((131_000, 32), (270_000, 31)):
        build = FloatGraphBuilder(channels=inputs, size=1)
        weight = build.constant(np.ones((2, inputs, 1, 1), np.float32))
        build.node("Conv", [build.x, weight], (1, 2, 1, 1), "y")
        graph = quantised(build, {"y": (0.0, float(inputs))}, "y")
        assert broken_sums(graph) == []
        assert graph.constants["y/weight"].max() == largest
        bright = np.full((1, 1, 1, inputs), 255, np.uint8)
        assert run_graph(graph, [bright])["y"].min() >= 254


def test_relu_is_the_grids_own_end():
    build = FloatGraphBuilder()
    build.relu(build.conv(build.x, 4), name="y")
    graph = quantised(build, {"y": (0.0, 3.0)}, "y")
    assert [node.op for node in graph.nodes] == ["Transpose", "Conv"]
    assert graph.spec("y").grid.zero_point == 0
    assert graph.nodes[1].source == ("node_conv1", "node_y")


@pytest.mark.parametrize("high", [6.0, 2.0])
def test_relu6_ends_the_grid_at_six_or_at_what_was_seen(high):
    build = FloatGraphBuilder()
    build.clip(build.conv(build.x, 4), 0.0, 6.0, name="y")
    graph = quantised(build, {"y": (0.0, high)}, "y")
    assert [node.op for node in graph.nodes] == ["Transpose", "Conv"]
    assert graph.spec("y").grid == QuantParams.per_tensor(high / 255, 0)


def test_a_clamp_inside_a_shared_grid_is_written_out():
    build = FloatGraphBuilder()
    a = build.clip(build.conv(build.x, 4), 0.0, 6.0, name="a")
    b = build.conv(build.x, 4, name="b")
    build.node("Concat", [a, b], (1, 8, 8, 8), "y", axis=1)
    graph = quantised(build, {"a": (0.0, 6.0), "b": (-10.0, 15.5)}, "y")
    clip = node_of(graph, "Clip")
    grid = graph.spec("y").grid
    assert grid == QuantParams.per_tensor(0.1, 100)
    assert (clip.integer("low"), clip.integer("high")) == (100, 160)
    assert clip.output == "a"
    assert (graph.nodes[1].output, clip.inputs) == ("a/unclamped", ("a/unclamped",))
    integers = run_graph(graph, frames_like(graph))["a"]
    assert (integers.min(), integers.max()) == (100, 160)


def test_a_relu_with_two_readers_clips_integers():
    build = FloatGraphBuilder()
    sums = build.conv(build.x, 4, name="sums")
    build.node("Sub", [sums, build.relu(sums, name="positive")], name="y")
    graph = quantised(build, {"sums": (-10.0, 15.5), "y": (-10.0, 0.0)}, "y")
    clip = node_of(graph, "Clip")
    grid = graph.spec("positive").grid
    assert grid == graph.spec("sums").grid
    assert (clip.integer("low"), clip.integer("high")) == (grid.zero_point, 255)


def test_a_constant_operand_stands_on_its_own_uint8_grid():
    build = FloatGraphBuilder()
    shift = build.constant(np.asarray([-1.0, 0.0, 1.55], np.float32).reshape(1, 3, 1, 1))
    build.node("Add", [build.x, shift], name="y")
    graph = quantised(build, {"y": (-1.0, 2.6)}, "y")
    name = node_of(graph, "Add").inputs[1]
    assert graph.spec(name).grid.scale[0] == pytest.approx(0.01, rel=2e-3)
    assert graph.constants[name].ravel().tolist() == [0, 100, 255]


def test_slopes_are_symmetric_int8():
    build = FloatGraphBuilder()
    slopes = build.constant(np.asarray([0.25, -0.5, 1.27], np.float32).reshape(3, 1, 1))
    build.node("PRelu", [build.x, slopes], name="y")
    graph = quantised(build, {"y": (0.0, 1.0)}, "y")
    name = node_of(graph, "PRelu").inputs[1]
    assert graph.constants[name].ravel().tolist() == [25, -50, 127]
    assert graph.spec(name).grid == QuantParams.per_tensor(graph.spec(name).grid.scale[0])
    assert graph.spec(name).grid.scale[0] == pytest.approx(0.01, rel=1e-3)


def test_slopes_of_zero_make_a_relu():
    build = FloatGraphBuilder()
    build.node("PRelu", [build.conv(build.x, 3), build.constant(np.zeros((3, 1, 1), np.float32))], name="y")
    graph = quantised(build, {"conv1": (-3.0, 3.0), "y": (0.0, 3.0)}, "y")
    integers = run_graph(graph, frames_like(graph))
    sums = integers["conv1"].astype(int) - graph.spec("conv1").grid.zero_point
    assert integers["y"][sums <= 0].max() == 0
    assert integers["y"][sums > 5].min() > 0


def test_a_constant_in_a_concat_widens_the_shared_grid():
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    plane = build.constant(np.full((1, 1, 8, 8), 15.5, np.float32))
    build.node("Concat", [a, plane], (1, 5, 8, 8), "y", axis=1)
    assert constant_ranges(place(build.graph("y"))) == {"y": (15.5, 15.5)}
    graph = quantised(build, {"a": (-10.0, 2.0)}, "y")
    assert graph.spec("y").grid == QuantParams.per_tensor(0.1, 100)
    assert set(graph.constants[node_of(graph, "Concat").inputs[1]].ravel()) == {255}


@pytest.mark.parametrize("fill", [0.0, -15.0])
def test_the_fill_of_a_pad_is_on_the_grid(fill):
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    pads, value = build.constant(np.asarray([0, 0, 1, 1, 0, 0, 1, 1])), build.constant(np.float32(fill))
    build.node("Pad", [a, pads, value], (1, 4, 10, 10), "y")
    graph = quantised(build, {"a": (-10.0, 15.5)}, "y")
    grid, pad = graph.spec("y").grid, node_of(graph, "Pad")
    assert grid.scale[0] * (pad.integer("value") - grid.zero_point) == pytest.approx(fill, abs=grid.scale[0] / 2)
    assert run_graph(graph, frames_like(graph))["y"][0, 0, 0, 0] == pad.integer("value")


def test_fixed_grids_are_fixed():
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    for op in ("Sigmoid", "Tanh", "Softmax"):
        build.node(op, [a], name=op.lower())
    graph = quantised(build, {"a": (-3.0, 3.0)}, "sigmoid", "tanh", "softmax")
    assert graph.spec("sigmoid").quant == graph.spec("softmax").quant == QuantParams.per_tensor(1 / 256, 0)
    assert graph.spec("tanh").quant == QuantParams.per_tensor(1 / 128, 128)


def test_indices_have_no_grid():
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    build.node("ArgMax", [a], (1, 8, 8), "classes", axis=1, keepdims=0)
    graph = quantised(build, {"a": (-3.0, 3.0)}, "classes")
    assert graph.spec("classes").dtype == "int64"
    assert graph.spec("classes").quant is None


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_dead_tiny_and_huge_channels_stay_finite(method):
    build = FloatGraphBuilder()
    weight = build.random.standard_normal((6, 3, 3, 3)).astype(np.float32)
    weight *= np.asarray([0, 1e-44, 1e-30, 1, 1e4, 0], np.float32).reshape(-1, 1, 1, 1)
    bias = build.constant(np.asarray([1.0, -2.0, 0.5, 3.0, 1e12, 0.0], np.float32))
    build.node("Conv", [build.x, build.constant(weight), bias], (1, 6, 8, 8), "y", pads=(1, 1, 1, 1))
    graph = quantised(build, {"y": (-4.0, 4.0)}, "y", weight_range=method)
    assert np.isfinite(graph.spec("y/weight").grid.scales).all()
    real = dequantise(run_graph(graph, frames_like(graph))["y"], graph.spec("y").grid)
    step = graph.spec("y").grid.scale[0]
    for channel, wanted in ((0, 1.0), (1, -2.0), (2, 0.5), (5, 0.0)):
        assert np.abs(real[0, channel] - wanted).max() <= step
    assert real[0, 4].min() >= 4.0 - step


def test_an_all_zero_tensor_gets_scale_one_and_no_nan():
    build = FloatGraphBuilder()
    weight, bias = (build.constant(np.zeros(shape, np.float32)) for shape in ((4, 3, 1, 1), (4,)))
    build.node("Conv", [build.x, weight, bias], (1, 4, 8, 8), "y")
    graph = quantised(build, {"y": (0.0, 0.0)}, "y")
    assert graph.spec("y").grid == QuantParams.per_tensor(1.0)
    assert run_graph(graph, frames_like(graph))["y"].max() == 0
