"""The Edge TPU pre-flight: each rule, the first node that does not map, and the on-chip memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.export.tflite.edgetpu import pre_flight
from edgecnn.profile import EdgeTpu
from edgecnn.tensor import QuantParams

LIMITS = EdgeTpu(
    sram_bytes=8_000_000,
    weight_bytes=7_000_000,
    softmax_elements=16_000,
    resize_bilinear_pixels=128 * 128,
    mean_pixels=1000,
    unmapped={"DepthToSpace": "Use Resize followed by a convolution."},
    min_runtime={"Transpose": 14, "ReduceMax": 14},
)
SOFTMAX = QuantParams.per_tensor(1 / 256, 0)


def verdict_of(graph, *outputs):
    """The verdict on the node that writes the first output."""
    verdicts = pre_flight(graph.graph(*outputs), LIMITS).verdicts
    producer = next(node.name for node in graph.nodes if node.output == outputs[0])
    return next(item for item in verdicts if item.node == producer)


def test_a_mobile_net_maps_whole(mobile_net):
    flight = pre_flight(mobile_net.graph(mobile_net.nodes[-1].output), LIMITS)
    assert flight.first_unmapped is None
    assert flight.on_cpu == ()
    assert all(item.maps and not item.findings for item in flight.verdicts)
    constants = mobile_net.constants.values()
    weights = sum(array.nbytes for array in constants)
    assert weights <= flight.parameter_bytes <= weights + 300  # and the tables of PAD, MEAN and RESHAPE
    assert flight.streamed_bytes == 0


def test_what_does_not_fit_on_the_chip_streams(mobile_net):
    graph = mobile_net.graph(mobile_net.nodes[-1].output)
    flight = pre_flight(graph, replace(LIMITS, weight_bytes=1000))
    assert (flight.cached_bytes, flight.streamed_bytes) == (1000, flight.parameter_bytes - 1000)


def test_everything_behind_the_first_unmapped_node_is_on_the_cpu(build):
    graph = build(0)
    x = graph.image(12, 6, 6)
    y = graph.node("DepthToSpace", [x], (1, 3, 12, 12), graph.grid(x), blocksize=2, mode="DCR")
    flight = pre_flight(graph.graph(graph.conv(y, 4, (3, 3))), LIMITS)
    assert flight.first_unmapped == "node1"
    assert flight.on_cpu == ("node1", "node2")
    assert flight.verdicts[1].reason == "DEPTH_TO_SPACE is not an operation of the Edge TPU."
    assert flight.verdicts[1].suggestion == "Use Resize followed by a convolution."
    assert flight.parameter_bytes == 0


def test_leaky_relu_maps_as_products(build):
    graph = build(1)
    x = graph.image(4, 6, 6)
    verdict = verdict_of(graph, graph.node("LeakyRelu", [x], graph.shape(x), graph.grid(x), alpha=0.1))
    assert (verdict.operators, verdict.maps) == (("MUL", "MUL", "ADD"), True)


def test_slopes_of_both_signs_map_as_products(build):
    graph = build(1)
    x = graph.image(4, 6, 6)
    slope = graph.constant(np.asarray([9, -9, 0, 9], np.int8).reshape(4, 1, 1), QuantParams.per_tensor(0.01))
    verdict = verdict_of(graph, graph.node("PRelu", [x, slope], graph.shape(x), graph.grid(x)))
    assert (verdict.operators, verdict.maps) == (("MUL", "MUL", "ADD", "MUL", "ADD"), True)


@pytest.mark.parametrize(("dilations", "maps"), [((2, 2), True), ((2, 1), False)])
def test_dilations_must_be_equal(build, dilations, maps):
    graph = build(2)
    assert verdict_of(graph, graph.conv(graph.image(3, 8, 8), 4, (3, 3), dilations=dilations)).maps is maps


def test_groups_are_younger_than_the_compiler(build):
    graph = build(3)
    verdict = verdict_of(graph, graph.conv(graph.image(4, 8, 8), 4, (3, 3), group=2))
    assert not verdict.maps
    assert verdict.reason == "CONV_2D version 6 is younger than the compiler."


def test_only_three_inner_dimensions(build):
    graph = build(4)
    x = graph.input((2, 6, 6, 3))
    y = graph.node("Transpose", [x], (2, 3, 6, 6), graph.grid(x), perm=(0, 3, 1, 2))
    verdict = verdict_of(graph, graph.conv(y, 4, (1, 1)))
    assert not verdict.maps
    assert "(2, 6, 6, 3) is larger than 1 outside its 3 innermost dimensions" in verdict.reason


@pytest.mark.parametrize(("shape", "maps"), [((1, 1000), True), ((1, 16_001), False), ((1, 8, 10), False)])
def test_softmax_is_1_d_and_short(build, shape, maps):
    graph = build(5)
    x = graph.input(shape)
    assert verdict_of(graph, graph.node("Softmax", [x], shape, SOFTMAX, axis=len(shape) - 1)).maps is maps


@pytest.mark.parametrize(("values", "maps"), [(0, True), (9, False)])
def test_concat_with_a_constant(build, values, maps):
    graph = build(6)
    grid = QuantParams.per_tensor(0.1, 128)
    x = graph.image(3, 4, 4, grid)
    c = graph.constant(np.full((1, 2, 4, 4), 128 + values, np.uint8), grid)
    assert verdict_of(graph, graph.node("Concat", [x, c], (1, 5, 4, 4), grid, axis=1)).maps is maps


@pytest.mark.parametrize(("channels", "maps"), [(8, True), (6, False)])
def test_a_mean_over_channels_takes_multiples_of_4(build, channels, maps):
    graph = build(7)
    x = graph.image(channels, 4, 4)
    y = graph.node("ReduceMean", [x], (1, 1, 4, 4), graph.grid(x), axes=(1,), keepdims=1)
    assert verdict_of(graph, y).maps is maps


def test_sizes_warn_and_do_not_refuse(build):
    graph = build(8)
    x = graph.image(4, 40, 40)
    mean = graph.node("ReduceMean", [x], (1, 4, 1, 1), graph.grid(x), axes=(2, 3), keepdims=1)
    attributes = {"sizes": (160, 160), "mode": "linear", "coordinates": "half_pixel"}
    large = graph.node("Resize", [x], (1, 4, 160, 160), graph.grid(x), **attributes)
    for output, words in ((mean, "A mean over 1600 values"), (large, "A resize to 160x160")):
        verdict = verdict_of(graph, output)
        assert verdict.maps
        assert verdict.reason.startswith(words)


def test_a_pad_before_an_add_warns(build):
    graph = build(9)
    x = graph.image(4, 6, 6)
    pads = (0, 0, 1, 1, 0, 0, 1, 1)
    value = graph.grid(x).zero_point
    y = graph.node("Pad", [x], (1, 4, 8, 8), graph.grid(x), pads=pads, mode="constant", value=value)
    graph.node("Add", [y, y], (1, 4, 8, 8), graph.any_grid())
    verdict = verdict_of(graph, y, graph.nodes[-1].output)
    assert verdict.maps
    assert "PAD directly before an ADD" in verdict.reason


def test_steps_do_not_map(build):
    graph = build(10)
    x = graph.image(4, 6, 6)
    y = graph.node(
        "Slice", [x], (1, 4, 3, 3), graph.grid(x), starts=(0, 0, 0, 0), ends=(1, 4, 6, 6), steps=(1, 1, 2, 2)
    )
    assert not verdict_of(graph, y).maps


def test_an_entry_transpose_does_not_map(build):
    graph = build(11)
    verdict = verdict_of(graph, graph.conv(graph.input((1, 3, 8, 8)), 4, (1, 1)))
    assert not verdict.maps
    assert verdict.suggestion == "Update libedgetpu. Feed the frame as NHWC."


def test_a_strided_transpose_conv_warns(build):
    graph = build(12)
    x = graph.image(4, 4, 4)
    parameters = graph.parameters(x, (4, 3, 2, 2), 1, 3)
    attributes = {"strides": (2, 2), "pads": (0, 0, 0, 0), "output_padding": (0, 0), "dilations": (1, 1), "group": 1}
    verdict = verdict_of(
        graph, graph.node("ConvTranspose", [x, *parameters], (1, 3, 8, 8), graph.any_grid(), **attributes)
    )
    assert verdict.maps
    assert "stride 2" in verdict.reason
