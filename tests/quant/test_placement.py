"""Rules 1 to 4 of placement, each on the smallest graph that shows it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgecnn.ops.sigmoid import FIXED as SIGMOID
from edgecnn.quant.placement import Placement, module_of, place, rounds
from tests.quant.networks import FloatGraphBuilder


def ops(placement: Placement) -> list[str]:
    return [node.op for node in placement.nodes]


def test_a_relu_belongs_to_the_operator_file_of_clip():
    assert module_of("Relu").__name__ == "edgecnn.ops.clip"
    assert module_of("MaxPool").__name__ == "edgecnn.ops.max_pool"


@pytest.mark.parametrize(
    ("op", "attributes", "computes"),
    [
        ("Conv", {}, True),
        ("Sigmoid", {}, True),
        ("AveragePool", {}, True),
        ("Resize", {"mode": "linear"}, True),
        ("Resize", {"mode": "nearest"}, False),
        ("Resize", {}, False),
        ("MaxPool", {}, False),
        ("Pad", {"mode": "constant"}, False),
        ("ArgMax", {}, False),
    ],
)
def test_on_a_shared_grid_only_averages_are_rounded(op, attributes, computes):
    assert rounds(op, attributes) is computes


def test_rule_1_a_relu_behind_a_convolution_becomes_its_clamp():
    build = FloatGraphBuilder()
    y = build.relu(build.conv(build.x, 4, name="sums"), name="y")
    placement = place(build.graph(y))
    assert ops(placement) == ["Transpose", "Conv"]
    conv = placement.nodes[1]
    assert conv.output == "y"
    assert placement.clamps == {"y": (0.0, math.inf)}
    assert placement.fused == {conv.name: ("node_y",)}
    assert placement.own == ["y"]


@pytest.mark.parametrize("op", ["Add", "Mul", "Gemm", "ReduceMean"])
def test_rule_1_holds_for_every_operator_with_a_grid_of_its_own(op):
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4)
    inputs = {"Add": [a, a], "Mul": [a, a], "ReduceMean": [a]}.get(op)
    if inputs is None:
        a = build.node("Reshape", [a], (1, 256))
        weight = build.constant(np.ones((4, 256), np.float32))
        inputs = [a, weight, build.constant(np.zeros(4, np.float32))]
    y = build.relu(build.node(op, inputs, (1, 4) if op == "Gemm" else None), name="y")
    placement = place(build.graph(y))
    assert placement.clamps == {"y": (0.0, math.inf)}
    assert "Relu" not in ops(placement)


def test_rule_1_two_clamps_in_a_row_become_one_narrower():
    build = FloatGraphBuilder()
    y = build.clip(build.relu(build.conv(build.x, 4)), -1.0, 6.0, name="y")
    placement = place(build.graph(y))
    assert ops(placement) == ["Transpose", "Conv"]
    assert placement.clamps == {"y": (0.0, 6.0)}
    assert len(placement.fused["node_conv1"]) == 2


def test_rule_2_a_relu_whose_input_has_another_reader_stays():
    build = FloatGraphBuilder()
    sums = build.conv(build.x, 4, name="sums")
    y = build.relu(sums, name="y")
    placement = place(build.graph(build.node("Add", [sums, y], name="z")))
    assert ops(placement) == ["Transpose", "Conv", "Relu", "Add"]
    assert placement.group("y") == placement.group("sums")
    assert placement.clamps == {}


def test_rule_2_a_relu_behind_a_graph_output_stays():
    build = FloatGraphBuilder()
    sums = build.conv(build.x, 4, name="sums")
    placement = place(build.graph(sums, build.relu(sums, name="y")))
    assert ops(placement) == ["Transpose", "Conv", "Relu"]


@pytest.mark.parametrize("op", ["Concat", "MaxPool", "Sigmoid"])
def test_rule_2_a_relu_behind_an_operator_without_a_grid_of_its_own_stays(op):
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    inputs, given = ([a, a], {"axis": 1}) if op == "Concat" else ([a], {})
    if op == "MaxPool":
        given = {"kernel_shape": (1, 1)}
    moved = build.node(op, inputs, (1, 8, 8, 8) if op == "Concat" else None, name="moved", **given)
    placement = place(build.graph(build.relu(moved, name="y")))
    assert ops(placement)[-1] == "Relu"
    assert placement.group("y") == placement.group("moved")


def test_a_relu_that_two_read_is_still_fused():
    build = FloatGraphBuilder()
    y = build.relu(build.conv(build.x, 4), name="y")
    placement = place(build.graph(build.node("Add", [y, y], name="z")))
    assert ops(placement) == ["Transpose", "Conv", "Add"]


def test_rule_3_moves_share_one_grid():
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.conv(build.x, 4, name="b")
    joined = build.node("Concat", [a, b], (1, 8, 8, 8), name="joined", axis=1)
    pooled = build.node("MaxPool", [joined], (1, 8, 4, 4), name="pooled", kernel_shape=(2, 2), strides=(2, 2))
    flat = build.node("Reshape", [pooled], (1, 128), name="flat")
    placement = place(build.graph(flat))
    assert len({placement.group(name) for name in ("a", "b", "joined", "pooled", "flat")}) == 1
    assert placement.group("a") != placement.group("frame")
    assert placement.own == ["a", "b"]


def test_rule_3_the_shared_range_is_the_hull_of_all():
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.relu(build.conv(build.x, 4), name="b")
    joined = build.node("Concat", [a, b], (1, 8, 8, 8), name="joined", axis=1)
    placement = place(build.graph(joined))
    hulls = placement.hulls({"a": (-1.0, 2.0), "b": (-7.0, 5.0)})
    assert hulls == {placement.group("joined"): (-1.0, 5.0)}


def test_rule_4_the_frames_grid_reaches_the_first_convolution():
    build = FloatGraphBuilder()
    placement = place(build.graph(build.conv(build.x, 4)))
    assert placement.is_fixed(build.x)
    assert placement.fixed[placement.group(build.x)] == build.frame_grid


def test_rule_4_a_concat_of_a_sigmoid_with_others_reads_it_through_a_requantize():
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    gate = build.node("Sigmoid", [a], name="gate")
    b = build.conv(build.x, 4, name="b")
    joined = build.node("Concat", [gate, b], (1, 8, 8, 8), name="joined", axis=1)
    placement = place(build.graph(joined))
    assert ops(placement) == ["Transpose", "Conv", "Sigmoid", "Conv", "Requantize", "Concat"]
    change = placement.nodes[4]
    assert change.inputs == ("gate",)
    assert placement.nodes[5].inputs == (change.output, "b")
    assert placement.group(change.output) == placement.group("b") == placement.group("joined")
    assert placement.fixed[placement.group("gate")] == SIGMOID
    assert placement.own == ["a", "b", change.output]
    assert placement.copies == {change.output: "gate"}


def test_rule_4_a_concat_of_sigmoids_keeps_their_grid():
    build = FloatGraphBuilder()
    gates = [build.node("Sigmoid", [build.conv(build.x, 4)]) for _ in range(2)]
    joined = build.node("Concat", gates, (1, 8, 8, 8), name="joined", axis=1)
    placement = place(build.graph(joined))
    assert "Requantize" not in ops(placement)
    assert placement.fixed[placement.group("joined")] == SIGMOID


def test_rule_4_a_concat_of_different_fixed_grids_requantizes_all():
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4)
    parts = [build.node("Sigmoid", [a]), build.node("Tanh", [a])]
    joined = build.node("Concat", parts, (1, 8, 8, 8), name="joined", axis=1)
    placement = place(build.graph(joined))
    assert ops(placement).count("Requantize") == 2
    assert not placement.is_fixed("joined")


@pytest.mark.parametrize("kind", ["product", "mean"])
def test_rule_5_a_concat_reads_what_halves_its_other_part_through_a_requantize(kind):
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    if kind == "product":
        part = build.node("Mul", [a, build.node("Sigmoid", [a])], name="part")
    else:
        part = build.node("ReduceMean", [a], (1, 1, 8, 8), name="part", axes=(1,), keepdims=1)
    channels = 4 + build.shapes[part][1]
    placement = place(build.graph(build.node("Concat", [a, part], (1, channels, 8, 8), name="joined", axis=1)))
    assert ops(placement)[-2:] == ["Requantize", "Concat"]
    assert placement.nodes[-2].inputs == ("part",)
    assert placement.group("a") == placement.group("joined") != placement.group("part")


def test_rule_5_leaves_a_concat_with_the_product_of_another_tensor_alone():
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.conv(build.x, 4, name="b")
    part = build.node("Mul", [b, build.node("Sigmoid", [a])], name="part")
    placement = place(build.graph(build.node("Concat", [a, part], (1, 8, 8, 8), name="joined", axis=1)))
    assert "Requantize" not in ops(placement)


def test_a_move_of_a_fixed_grid_stays_on_it():
    build = FloatGraphBuilder()
    gate = build.node("Sigmoid", [build.conv(build.x, 4)], name="gate")
    pooled = build.node("MaxPool", [gate], (1, 4, 4, 4), name="pooled", kernel_shape=(2, 2), strides=(2, 2))
    placement = place(build.graph(pooled))
    assert placement.fixed[placement.group("pooled")] == SIGMOID
    assert placement.hulls({"gate": (0.0, 1.0)}) == {}


@pytest.mark.parametrize(
    ("clamp", "seen", "expected"),
    [
        ((0.0, 6.0), (-3.0, 9.0), (0.0, 6.0)),
        ((0.0, 6.0), (-3.0, 2.0), (0.0, 2.0)),
        ((0.0, math.inf), (-3.0, 9.0), (0.0, 9.0)),
        ((-1.0, 1.0), (-0.5, 0.5), (-0.5, 0.5)),
    ],
)
def test_a_hull_ends_where_the_clamp_or_what_was_seen_ends(clamp, seen, expected):
    assert Placement(clamps={"y": clamp}).hulls({"y": seen}) == {"y": expected}
