from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.runtime.evaluation.statistics import (
    Drop,
    Noise,
    agreement,
    images_needed,
    mcnemar_p,
    paired_drop,
    sqnr_db,
    wilson_interval,
)


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


def test_noise_over_pictures_is_that_of_all_at_once() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.normal(size=(7, 3, 4)), rng.normal(size=(7, 3, 4))
    noise = Noise()
    for clean, noisy in zip(reference, other, strict=True):
        noise.add(clean[None], noisy[None])

    assert noise.decibels == pytest.approx(sqnr_db(reference, other))


def test_mcnemar_of_known_values() -> None:
    # 2 * (1 + 8 + 28 + 56) / 2^8 and 2 * (1 + 8) / 2^8, counted by hand.
    assert mcnemar_p(3, 5) == mcnemar_p(5, 3) == pytest.approx(186 / 256)
    # Fagerland, Lydersen and Laake 2013, airway hyper-responsiveness: exact conditional p = 0.070.
    assert mcnemar_p(1, 7) == pytest.approx(18 / 256)
    assert mcnemar_p(0, 0) == mcnemar_p(4, 4) == 1.0
    assert mcnemar_p(3000, 2900) == pytest.approx(0.197, abs=5e-4)
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar_p(-1, 2)


def test_paired_drop_of_known_values() -> None:
    # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness (1, 1, 7, 12): Tango's interval.
    assert_drop(paired_drop(7, 1, 21), 6 / 21, 0.026, 0.517)
    # Without discordant pairs Tango's interval is that of Wilson for none of n, to both sides.
    assert_drop(paired_drop(0, 0, 400), 0.0, -wilson_interval(0, 400)[1], wilson_interval(0, 400)[1])


def assert_drop(drop: Drop, value: float, low: float, high: float) -> None:
    assert (drop.value, drop.low, drop.high) == pytest.approx((value, low, high), abs=6e-4)


@given(st.integers(1, 3000), st.data())
def test_paired_drop_holds_its_value_and_mirrors(n: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    drop, mirrored = paired_drop(lost, gained, n), paired_drop(gained, lost, n)

    assert -1 <= drop.low <= drop.value <= drop.high <= 1
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-drop.value, -drop.high, -drop.low))
    assert paired_drop(lost, gained, n, 0.5).high <= drop.high


@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.02), (0.04, 0.0), (0.002, 0.001), (0.1, 0.12)])
def test_paired_drop_covers_the_truth(lost: float, gained: float) -> None:
    # A sample of models' decisions with known probabilities; 95 % and what 4000 draws leave open.
    draws = np.random.default_rng(0).multinomial(200, [lost, gained, 1 - lost - gained], 4000)
    found = {pair: paired_drop(*pair, 200) for pair in {(int(a), int(b)) for a, b, _ in draws}}
    held = [found[int(a), int(b)].low <= lost - gained <= found[int(a), int(b)].high for a, b, _ in draws]

    assert np.mean(held) > 0.935


@pytest.mark.parametrize("arguments", [(1, 0, 0), (-1, 0, 5), (3, 3, 5), (1, 1, 5, 1.0)])
def test_paired_drop_refuses_what_cannot_be(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected|confidence"):
        paired_drop(*arguments)


@given(st.sampled_from([0.002, 0.005, 0.01, 0.05]), st.integers(0, 20), st.integers(0, 20))
def test_images_needed_are_enough_and_not_too_many(limit: float, lost: int, gained: int) -> None:
    n = 10_000
    high = paired_drop(lost, gained, n).high
    needed = images_needed(limit, lost / n, gained / n)

    if needed is None:
        assert (lost - gained) / n >= limit
    else:
        assert (needed <= n) == (high <= limit)


def test_images_needed_at_its_ends() -> None:
    # z^2 (1 - d) / d without any discordant pair.
    assert images_needed(0.01) == math.ceil(3.8414588 * 99)
    assert images_needed(0.01, lost=0.02, gained=0.01) is None
    with pytest.raises(ValueError, match="0 < max_drop < 1"):
        images_needed(0.0)
