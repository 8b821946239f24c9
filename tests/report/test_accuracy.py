from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.report.accuracy import agreement, sqnr_db, wilson_interval


def test_sqnr_of_known_noise() -> None:
    # Signal power 2, noise power 2 * 0.01: a factor of 100 is 20 dB.
    assert sqnr_db([[1.0, -1.0]], [[1.1, -1.1]]) == pytest.approx(20.0)


def test_sqnr_ignores_a_shift_per_image() -> None:
    reference = np.random.default_rng(0).normal(size=(5, 10))
    noisy = reference + np.random.default_rng(1).normal(size=(5, 10)) * 0.01

    assert sqnr_db(reference, noisy + np.arange(5)[:, None]) == pytest.approx(sqnr_db(reference, noisy))


def test_sqnr_takes_one_image_and_maps() -> None:
    reference = np.random.default_rng(0).normal(size=(3, 4, 5))

    assert sqnr_db(reference, 0.9 * reference) == pytest.approx(20.0)
    assert sqnr_db(reference[0, 0], 0.9 * reference[0, 0]) == pytest.approx(20.0)


def test_sqnr_at_its_ends() -> None:
    assert sqnr_db([[1.0, 2.0]], [[1.0, 2.0]]) == math.inf
    assert sqnr_db([[1.0, 1.0]], [[1.0, 2.0]]) == -math.inf


@pytest.mark.parametrize(
    ("reference", "other"), [(np.zeros((2, 3)), np.zeros((3, 2))), (np.zeros((0, 3)), np.zeros((0, 3)))]
)
def test_sqnr_refuses_what_does_not_fit(reference: np.ndarray, other: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one shape"):
        sqnr_db(reference, other)


def test_agreement_of_classes_and_maps() -> None:
    assert agreement([1, 2, 3, 4], [1, 2, 0, 4]) == 0.75
    assert agreement(np.zeros((2, 2, 2)), np.eye(2)[None].repeat(2, axis=0)) == 0.5
    with pytest.raises(ValueError, match="one shape"):
        agreement([1, 2], [1])


def test_wilson_interval_of_known_values() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 5000), st.data())
def test_wilson_interval_holds_the_share_and_stays_inside(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson_interval(successes, n)
    mirrored = wilson_interval(n - successes, n)

    assert 0 <= low <= successes / n <= high <= 1
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 2), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_interval_refuses_what_cannot_be(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected|confidence"):
        wilson_interval(*arguments)
