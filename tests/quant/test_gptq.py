"""Rounding with the errors carried on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.exact_sums import PAIR, Rows, largest_pairs, nearest
from edgecnn.quant import gptq
from edgecnn.quant.gptq import round_rows


def correlated(seed: int, size: int, groups: int = 1) -> np.ndarray:
    """Return second moments (groups, size, size) of inputs that have much in common."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, 400, size)) * 0.3 + rng.standard_normal((groups, 400, 1))
    return x.transpose(0, 2, 1) @ x / 400


def alone(weight: np.ndarray) -> np.ndarray:
    """Return partners for weights of which no two form a pair."""
    return np.empty((0, weight.shape[2]), np.int64)


def output_error(weight: np.ndarray, rounded: np.ndarray, moments: np.ndarray) -> float:
    difference = weight - rounded
    return float(np.einsum("gok,gkl,gol->", difference, moments, difference))


def test_unrelated_inputs_are_rounded_to_nearest():
    weight = np.random.default_rng(0).uniform(-127, 127, (2, 5, 9))
    np.testing.assert_array_equal(
        round_rows(weight, np.eye(9)[None].repeat(2, 0) * 4.0, alone(weight)), np.rint(weight)
    )


@given(seed=st.integers(0, 10**6), size=st.integers(8, 300), groups=st.integers(1, 3))
def test_the_error_at_the_output_falls(seed, size, groups):
    weight = np.random.default_rng(seed).uniform(-100, 100, (groups, 40, size))
    moments = correlated(seed, size, groups)
    rounded = round_rows(weight, moments, alone(weight))
    assert np.array_equal(rounded, np.rint(rounded))
    # One row may be unlucky; forty are not.
    assert output_error(weight, rounded, moments) <= 1.05 * output_error(weight, np.rint(weight), moments)


def test_three_weights_come_near_the_best_of_all_roundings():
    weight, moments = np.random.default_rng(3).uniform(-5, 5, (1, 200, 3)), correlated(3, 3)
    corners = [np.floor(weight) + np.asarray(corner) for corner in itertools.product((0, 1), repeat=3)]
    errors = [np.einsum("gok,gkl,gol->go", weight - item, moments, weight - item) for item in corners]
    best, nearest = float(np.min(errors, axis=0).sum()), output_error(weight, np.rint(weight), moments)
    got = output_error(weight, round_rows(weight, moments, alone(weight)), moments)
    assert got - best < 0.35 * (nearest - best)


def test_nothing_leaves_the_range():
    weight = np.random.default_rng(1).uniform(-200, 200, (1, 8, 20))
    assert np.abs(round_rows(weight, correlated(1, 20), alone(weight))).max() == 127


@pytest.mark.parametrize("longest", [2304, 7])
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(12, 6, 3, 1), (12, 3, 3, 2), (12, 5, 2, 2)]))
def test_pairs_are_never_too_large(longest, seed, shape):
    """Whatever the errors of columns before them ask for, and where long rows are rounded in parts."""
    layout = Rows("Conv", 1, shape)
    weight = layout.split(np.random.default_rng(seed).uniform(-160, 160, shape))
    moments = correlated(seed, weight.shape[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gptq, "LARGEST", longest)
        rounded = round_rows(weight, moments, layout.partners())
    assert largest_pairs(rounded, layout.partners()).max() <= PAIR
    # Those that must give up something lose no more than when each pair is rounded by itself.
    apart = nearest(weight, layout.partners())
    assert output_error(weight, rounded, moments) <= 1.3 * output_error(weight, apart, moments)


def test_dead_inputs_and_a_dead_layer():
    weight, moments = np.random.default_rng(2).uniform(-9, 9, (1, 4, 6)), correlated(2, 6)
    moments[:, 2], moments[:, :, 2] = 0, 0
    rounded = round_rows(weight, moments, alone(weight))
    np.testing.assert_array_equal(rounded[:, :, 2], np.rint(weight[:, :, 2]))
    np.testing.assert_array_equal(round_rows(weight, np.zeros((1, 6, 6)), alone(weight)), np.rint(weight))
