"""Grids on which no engine can round otherwise: odd ratios, common units, ends of ranges kept."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.affine import grid_for_range
from edgecnn.quant.placement import place
from edgecnn.quant.portable import DENOMINATOR, odd_ratio, settle, weight_scales
from edgecnn.tensor import QuantParams
from tests.quant.networks import FloatGraphBuilder

factors = st.floats(2.0**-24, 2.0**6)
RANGES = st.tuples(st.floats(-20, 0), st.floats(0.001, 20))


def as_fraction(ratio: float) -> Fraction:
    """Return the fraction of the smallest denominator within float64's error of ``ratio``."""
    limit = 10
    while abs(float(Fraction(ratio).limit_denominator(limit)) - ratio) > ratio * 1e-13:
        limit *= 2
    return Fraction(ratio).limit_denominator(limit)


@settings(max_examples=300)
@given(factors, st.booleans())
def test_an_odd_ratio_is_near_its_factor_on_the_wanted_side(factor, up):
    ratio = float(odd_ratio(factor, up))
    assert as_fraction(ratio).denominator % 2 == 1
    assert ratio >= factor * (1 - 1e-12) if up else ratio <= factor * (1 + 1e-12)
    assert ratio == pytest.approx(factor, rel=2 / 1300)


def test_odd_ratio_by_hand():
    assert float(odd_ratio(1.0)) == 1.0
    assert as_fraction(float(odd_ratio(0.5))) == Fraction(1024, 2047)  # 1024 / 2048 with the denominator made odd
    assert as_fraction(float(odd_ratio(0.5, up=False))) == Fraction(1024, 2049)
    assert as_fraction(float(odd_ratio(1e-5))) == Fraction(1, 99999)


@settings(max_examples=100, deadline=None)
@given(factors)
def test_multiples_of_an_odd_ratio_stay_away_from_the_middle(factor):
    ratio = odd_ratio(factor)
    denominator = as_fraction(float(ratio)).denominator
    sums = np.unique(np.linspace(0, min(256 / factor, 2**24), 20000).astype(np.int64))
    share = (sums * float(ratio)) % 1
    assert np.abs(share - 0.5).min() >= 1 / (2 * denominator) - 1e-9 * denominator


def test_rule_1_weight_scales_grow_by_at_most_a_thousandth_and_a_half():
    source, target = QuantParams.per_tensor(0.013), QuantParams.per_tensor(0.37)
    scales = np.geomspace(1e-5, 10, 500)
    moved = weight_scales(scales, source, target)
    assert ((moved >= scales * (1 - 1e-12)) & (moved <= scales * 1.0016)).all()
    ratios = moved * source.scale[0] / target.scale[0]
    assert all(as_fraction(float(ratio)).denominator % 2 == 1 for ratio in ratios)


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


@settings(max_examples=60, deadline=None)
@given(RANGES, st.floats(0.01, 0.4))
def test_rule_4_no_input_of_a_leaky_relu_gives_a_result_near_a_middle(ends, alpha):
    build = FloatGraphBuilder()
    build.node("LeakyRelu", [build.conv(build.x, 4, name="a")], name="y", alpha=alpha)
    low, high = ends
    _, after, before = settled_grids(build, "y", {"a": ends, "y": (alpha * low, high)})
    real = (np.arange(256) - after("a").zero_point) * np.float64(after("a").scale[0])
    share = np.where(real >= 0, real, np.float64(np.float32(alpha)) * real) / after("y").scale[0] % 1
    assert np.abs(share - 0.5).min() > 1e-4
    assert 1 - 1e-6 <= after("y").scale[0] / before("y").scale[0] <= 1.02


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
