"""Factors that are odd ratios: of weights, constants and slopes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.quant.portable import DENOMINATOR, odd_ratio, odd_ratios, slope, slope_grid, weight_scales
from edgecnn.tensor import QuantParams

factors = st.floats(2.0**-24, 2.0**6)


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


def test_odd_ratios_are_two_apart():
    assert [as_fraction(float(item)) for item in odd_ratios(0.5, True, 3)] == [
        Fraction(1024, 2047),
        Fraction(1024, 2045),
        Fraction(1024, 2043),
    ]


@pytest.mark.parametrize("value", [0.1, -0.25, 1.7, 0.003])
def test_rule_4_a_slope_moves_by_less_than_a_thousandth_and_a_half(value):
    source, target = QuantParams.per_tensor(0.013), QuantParams.per_tensor(0.017)
    moved = slope(value, source, target)
    assert abs(value) <= abs(moved) <= abs(value) * 1.0016
    assert as_fraction(abs(moved) * source.scale[0] / target.scale[0]).denominator % 2 == 1


def test_rule_4_a_slope_of_zero_stays():
    assert slope(0.0, QuantParams.per_tensor(0.013), QuantParams.per_tensor(0.017)) == 0.0


def test_rule_4_the_step_of_tiny_slopes_is_not_finer_than_it_needs_to_be():
    source, target = QuantParams.per_tensor(0.01), QuantParams.per_tensor(0.02)
    assert slope_grid([1e-6, -1e-9], source, target).scale[0] == pytest.approx(2 / DENOMINATOR)
    assert slope_grid([0.0], source, target).scale[0] == pytest.approx(2 / DENOMINATOR)
