"""Scales that are tied together: odd ratios, common units, curves away from middles, ends of ranges kept."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.affine import dequantise, grid_for_range
from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.placement import place
from edgecnn.quant.portable import DENOMINATOR
from edgecnn.quant.quantise import to_integers
from edgecnn.quant.settle import CLEAR, distance_from_middles, settle
from edgecnn.tensor import QuantParams
from tests.quant.networks import FloatGraphBuilder

RANGES = st.tuples(st.floats(-20, 0), st.floats(0.001, 20))
NEAREST = 1 / (2 * 3 * DENOMINATOR)
"""Half a step of a ratio that moved by CANDIDATES, less what float32 scales err."""


def residual_chain(outputs: int = 3) -> FloatGraphBuilder:
    """x0; x1 = x0 + f(x0); x2 = x1 + f(x1); ..."""
    build = FloatGraphBuilder()
    x = build.conv(build.x, 4, name="x0")
    for index in range(1, outputs + 1):
        branch = build.conv(x, 4, name=f"branch{index}")
        x = build.node("Add", [x, branch], name=f"x{index}")
    return build


def settled_grids(build: FloatGraphBuilder, output: str, ranges: dict[str, tuple[float, float]]):
    placement = place(build.graph(output))
    hulls = placement.hulls(ranges)
    grids = {root: grid_for_range(*hull) for root, hull in hulls.items()} | placement.fixed
    after = settle(placement, hulls, grids)
    return grids, lambda name: after[placement.group(name)], lambda name: grids[placement.group(name)]


def holds(grid: QuantParams, low: float, high: float) -> bool:
    """Say whether the grid reaches both ends to half a step, which rounding the zero point costs."""
    step = grid.scale[0]
    return -grid.zero_point * step <= low + step * 0.51 and (255 - grid.zero_point) * step >= high - step * 0.51


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_rule_2_scales_that_additions_connect_are_multiples_of_one_unit(data):
    build = residual_chain()
    names = ["x0", *(f"{kind}{index}" for index in (1, 2, 3) for kind in ("branch", "x"))]
    ranges = {name: data.draw(RANGES, name) for name in names}
    _, after, before = settled_grids(build, "x3", ranges)
    unit = max(before(name).scale[0] for name in names) / DENOMINATOR
    steps = {name: after(name).scale[0] / unit for name in names}
    for name, step in steps.items():
        assert step == pytest.approx(round(step), rel=1e-5)
        assert after(name).scale[0] >= before(name).scale[0] * (1 - 1e-5)
        assert holds(after(name), *ranges[name])
    assert all(round(steps[f"x{index}"]) % 2 == 1 for index in (1, 2, 3))


def test_rule_2_sums_of_two_integers_stay_away_from_the_middle():
    build = residual_chain(1)
    ranges = {"x0": (-1.3, 2.1), "branch1": (-0.7, 0.9), "x1": (-1.7, 2.6)}
    _, after, _ = settled_grids(build, "x1", ranges)
    a, b, y = (after(name).scale[0] for name in ("x0", "branch1", "x1"))
    integers = np.arange(-255, 256, dtype=np.float64)
    share = (integers[:, None] * (a / y) + integers[None, :] * (b / y)) % 1
    assert np.abs(share - 0.5).min() >= 1 / (2 * 2 * DENOMINATOR)


def test_rule_2_a_clamped_sum_shrinks_so_that_the_grid_ends_at_the_clamp():
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.conv(build.x, 4, name="b")
    build.clip(build.node("Add", [a, b]), 0.0, 6.0, name="y")
    _, after, before = settled_grids(build, "y", {"a": (-5.0, 5.0), "b": (-1.0, 1.0), "y": (0.0, 6.0)})
    assert after("y").scale[0] <= before("y").scale[0]
    assert after("y").scale[0] * 255 == pytest.approx(6.0, rel=1e-2)
    assert after("y").scale[0] * 255 <= 6.0 * (1 + 1e-6)


def test_rule_2_a_branch_of_zeros_does_not_spoil_the_others():
    build = residual_chain(1)
    _, after, before = settled_grids(build, "x1", {"x0": (-0.01, 0.02), "branch1": (0.0, 0.0), "x1": (-0.01, 0.02)})
    for name in ("x0", "x1"):
        assert after(name).scale[0] <= before(name).scale[0] * 1.01
        assert holds(after(name), -0.01, 0.02)


def test_rule_3_a_products_factor_is_an_odd_ratio():
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.conv(build.x, 4, name="b")
    y = build.node("Mul", [a, b], name="y")
    ranges = {"a": (-1.3, 2.1), "b": (-0.7, 0.9), "y": (-1.7, 1.2)}
    _, after, before = settled_grids(build, y, ranges)
    exact = after("a").scale[0] * after("b").scale[0] / after("y").scale[0]
    near = Fraction(exact).limit_denominator(3 * DENOMINATOR)
    assert near.denominator % 2 == 1
    assert float(near) == pytest.approx(exact, rel=1e-6)
    assert before("y").scale[0] <= after("y").scale[0] * (1 + 1e-6)
    assert holds(after("y"), *ranges["y"])


def test_rule_3_a_mean_counts_its_terms():
    build = FloatGraphBuilder(size=7)
    a = build.conv(build.x, 4, name="a")
    y = build.node("ReduceMean", [a], (1, 4), name="y", axes=(2, 3), keepdims=0)
    _, after, _ = settled_grids(build, y, {"a": (-1.3, 2.1), "y": (-0.4, 0.5)})
    exact = after("a").scale[0] / 49 / after("y").scale[0]
    near = Fraction(exact).limit_denominator(3 * DENOMINATOR)
    assert near.denominator % 2 == 1
    assert float(near) == pytest.approx(exact, rel=1e-6)


def test_grids_without_a_rule_are_left_alone():
    build = FloatGraphBuilder()
    y = build.conv(build.x, 4, name="y")
    _, after, before = settled_grids(build, y, {"y": (-1.0, math.pi)})
    assert after("y") == before("y")


def test_fixed_grids_never_move():
    build = FloatGraphBuilder()
    a = build.conv(build.x, 4, name="a")
    gate = build.node("Sigmoid", [a], name="gate")
    y = build.node("Mul", [a, gate], name="swish")
    z = build.node("Add", [y, gate], name="z")
    _, after, before = settled_grids(build, z, {"a": (-3.0, 4.0), "swish": (-0.28, 4.0), "z": (-0.2, 5.0)})
    assert after("gate") == before("gate") == QuantParams.per_tensor(1 / 256)
    assert after("frame") == build.frame_grid


def integers_of(build: FloatGraphBuilder, ranges: dict[str, tuple[float, float]], output: str) -> IntegerGraph:
    graph = build.graph(output)
    return to_integers(graph, place(graph), ranges)


def middles(steps: np.ndarray) -> float:
    """Return how near a middle between two integers any of ``steps`` comes that does not saturate."""
    return float(np.abs(steps[np.abs(steps) < 256] % 1 - 0.5).min())


def slope_results(graph: IntegerGraph, index: int) -> np.ndarray:
    """Return what every input code of the PRelu or LeakyRelu at ``index`` gives with every slope, in output steps."""
    node = graph.nodes[index]
    source, target = graph.spec(node.inputs[0]).grid, graph.spec(node.output).grid
    slopes = np.asarray([node.attributes.get("alpha", 1)], np.float64)
    if node.op == "PRelu":
        name = node.inputs[1]
        slopes = dequantise(graph.constants[name], graph.spec(name).grid).astype(np.float64).ravel()
    real = (np.arange(256.0) - source.zero_point) * source.scale[0]
    return np.where(real >= 0, real, real * slopes[:, None]) / target.scale[0]


SLOPES = {
    "of all sizes": np.linspace(0.01, 0.9, 64),
    "above 1": np.linspace(0.5, 3, 16),
    "of both signs": np.linspace(-1.5, 1.5, 33),
    "tiny": np.linspace(1e-5, 2e-3, 16),
    "large": np.linspace(-300, 300, 17),
    "one for all": np.asarray([0.25]),
    "equal": np.full(8, 0.1),
    "zero": np.zeros(4),
}


def prelu_chain(build: FloatGraphBuilder, slopes: np.ndarray, length: int) -> str:
    channels = slopes.size
    x = build.conv(build.x, channels, name="y0")
    for index in range(1, length + 1):
        shifted = build.constant(np.roll(slopes, index).astype(np.float32).reshape(channels, 1, 1))
        x = build.node("PRelu", [x, shifted], name=f"y{index}")
    return x


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("ends", [(-1.3, 2.1), (-11.7, 0.4), (-0.02, 19.0)])
def test_rules_3_and_4_keep_every_code_of_every_channel_away_from_middles(name, ends):
    build, low, high = FloatGraphBuilder(), *ends
    ranges = {f"y{index}": (low * (1 + 0.13 * index), high * (1 - 0.11 * index)) for index in range(4)}
    graph = integers_of(build, ranges, prelu_chain(build, SLOPES[name], 3))
    chain = [index for index, node in enumerate(graph.nodes) if node.op == "PRelu"]
    assert len(chain) == 3
    for index in chain:
        assert middles(slope_results(graph, index)) > NEAREST


@pytest.mark.parametrize("name", SLOPES)
def test_rule_4_moves_no_slope_by_more_than_a_fraction_of_a_step(name):
    build, ends = FloatGraphBuilder(), (-1.3, 2.1)
    graph = integers_of(build, {"y0": ends, "y1": ends}, prelu_chain(build, SLOPES[name], 1))
    slopes = dequantise(graph.constants[graph.nodes[-1].inputs[1]], graph.spec(graph.nodes[-1].inputs[1]).grid)
    off = np.abs(slopes.ravel() - np.roll(SLOPES[name], 1))
    assert off.max() <= max(np.abs(SLOPES[name]).max() / 127 * 0.502, 0.502 / DENOMINATOR)


@settings(max_examples=60, deadline=None)
@given(RANGES, st.floats(0.01, 0.4))
def test_rule_4_no_input_of_a_leaky_relu_gives_a_result_near_a_middle(ends, alpha):
    build = FloatGraphBuilder()
    build.node("LeakyRelu", [build.conv(build.x, 4, name="a")], name="y", alpha=alpha)
    low, high = ends
    graph = integers_of(build, {"a": ends, "y": (alpha * low, high)}, "y")
    assert middles(slope_results(graph, -1)) > 1e-4
    assert graph.nodes[-1].attributes["alpha"] == pytest.approx(alpha, rel=0.03 if alpha < 0.02 else 0.01)


def residual_slopes() -> tuple[FloatGraphBuilder, dict[str, tuple[float, float]]]:
    """Every second PRelu stands between two additions, one leads from a sum into the same sum."""
    build = FloatGraphBuilder()
    slopes = build.constant(np.linspace(-0.4, 0.9, 8, dtype=np.float32).reshape(8, 1, 1))
    y = build.node("Add", [build.conv(build.x, 8, name="a"), build.conv(build.x, 8, name="b")], name="c")
    y = build.node("PRelu", [y, slopes], name="d")
    y = build.node("Add", [y, build.conv(y, 8, name="e")], name="f")
    y = build.node("Add", [y, build.node("PRelu", [y, slopes], name="g")], name="h")
    build.node("PRelu", [y, slopes], name="i")
    ends = {"a": (-2, 3), "b": (-1, 2), "c": (-3, 4.5), "d": (-1, 4.5), "e": (-7, 3), "f": (-8, 7)}
    return build, ends | {"g": (-4, 7), "h": (-9, 12), "i": (-5, 12)}


def test_rules_2_to_4_hold_together_between_additions():
    build, ends = residual_slopes()
    graph = integers_of(build, ends, "i")
    for index, node in enumerate(graph.nodes):
        if node.op == "PRelu":
            assert middles(slope_results(graph, index)) > NEAREST, node.name
        if node.op == "Add":
            a, b, y = (graph.spec(name).grid.scale[0] for name in (*node.inputs, node.output))
            codes = np.arange(-255.0, 256)
            assert middles(codes[:, None] * (a / y) + codes * (b / y)) > NEAREST, node.name


def test_no_scale_moves_by_more_than_a_fiftieth_between_additions():
    build, ends = residual_slopes()
    _, after, before = settled_grids(build, "i", ends)
    moves = [after(name).scale[0] / before(name).scale[0] - 1 for name in ends]
    assert min(moves) >= -1e-6
    assert max(moves) < 0.02


def test_rule_3_moves_the_inputs_of_what_a_concat_joins():
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.conv(build.x, 4, name="b")
    slopes = build.constant(np.asarray([0.1, 0.2, 0.3, 0.4], np.float32).reshape(4, 1, 1))
    parts = [build.node("PRelu", [x, slopes], name=f"{x}_act") for x in (a, b)]
    build.node("Concat", [*parts, build.conv(build.x, 4, name="c")], (1, 12, 8, 8), name="y", axis=1)
    ends = {"a": (-1.3, 2.1), "b": (-3.1, 1.2), "a_act": (-0.5, 2.1), "b_act": (-1.2, 1.2), "c": (-0.7, 3.3)}
    graph = integers_of(build, ends, "y")
    for index, node in enumerate(graph.nodes):
        if node.op == "PRelu":
            assert middles(slope_results(graph, index)) > NEAREST, node.name


def test_rule_3_moves_what_a_sum_takes_from_a_product():
    """A residual of SiLU: the product's output stands on the grid of the sum."""
    build = FloatGraphBuilder()
    a, b = build.conv(build.x, 4, name="a"), build.conv(build.x, 4, name="b")
    product = build.node("Mul", [a, build.node("Sigmoid", [a], name="gate")], name="silu")
    build.node("Add", [product, b], name="y")
    ends = {"a": (-3.0, 4.0), "silu": (-0.28, 4.0), "b": (-1.0, 1.0), "y": (-1.2, 4.9)}
    _, after, _ = settled_grids(build, "y", ends)
    codes = np.arange(-255.0, 256)[:, None] * np.arange(256)
    assert middles(codes * (after("a").scale[0] / 256 / after("silu").scale[0])) > NEAREST
    assert distance_from_middles("Sigmoid", after("a")) > CLEAR


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["Sigmoid", "Tanh"]), RANGES)
def test_rule_5_no_input_of_a_curve_gives_a_result_near_a_middle(op, ends):
    build = FloatGraphBuilder()
    build.node(op, [build.conv(build.x, 4, name="a")], name="y")
    _, after, before = settled_grids(build, "y", {"a": ends})
    assert distance_from_middles(op, after("a")) > CLEAR
    assert 1 - 1e-6 <= after("a").scale[0] / before("a").scale[0] <= 1.02


def test_distance_from_middles_by_hand():
    # Of real 0 and -1 / 1000 only: 128 and 128 - 256 / 4000 = 127.936.
    assert distance_from_middles("Sigmoid", QuantParams.per_tensor(1e-9, 255)) == pytest.approx(0.5, abs=1e-4)
    # sigmoid(ln(255.5 / 0.5)) * 256 = 255.5 lies beyond the last integer, and 254.5 on a middle.
    beyond, middle = (float(np.log(share / (256 - share))) for share in (255.5, 254.5))
    assert distance_from_middles("Sigmoid", QuantParams.per_tensor(beyond, 0)) == pytest.approx(0.5, abs=0.01)
    assert distance_from_middles("Sigmoid", QuantParams.per_tensor(middle, 0)) < 1e-4


@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_rule_2_counts_constants_and_fixed_grids(op):
    build = FloatGraphBuilder()
    gate = build.node("Sigmoid", [build.conv(build.x, 3, name="a")], name="gate")
    shift = build.constant(np.asarray([-1.0, 0.0, 1.55], np.float32).reshape(1, 3, 1, 1))
    build.node(op, [shift, gate], name="y")
    graph = integers_of(build, {"a": (-3.0, 3.0), "y": (-2.0, 2.55)}, "y")
    c, x, y = (graph.spec(name).grid.scale[0] for name in (*graph.nodes[-1].inputs, "y"))
    codes = np.arange(-255.0, 256)
    assert middles(codes[:, None] * (c / y) + codes * (x / y)) > NEAREST
    np.testing.assert_allclose(
        dequantise(graph.constants[graph.nodes[-1].inputs[0]], graph.spec(graph.nodes[-1].inputs[0]).grid).ravel(),
        [-1.0, 0.0, 1.55],
        atol=0.0051,
    )


def test_rule_1_a_constant_factor_moves():
    build = FloatGraphBuilder()
    factors = build.constant(np.asarray([0.7, -1.3, 2.9], np.float32).reshape(1, 3, 1, 1))
    build.node("Mul", [build.conv(build.x, 3, name="a"), factors], name="y")
    graph = integers_of(build, {"a": (-3.0, 3.0), "y": (-9.0, 8.0)}, "y")
    a, c, y = (graph.spec(name).grid.scale[0] for name in (*graph.nodes[-1].inputs, "y"))
    codes = np.arange(-255.0, 256)[:, None] * np.arange(-255, 256)
    assert middles(codes * (a * c / y)) > NEAREST
