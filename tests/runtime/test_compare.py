from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.runtime.compare import Acceptance, Agreement, agreement, check_contract, differences, mean_iou
from edgecnn.tensor import QuantParams, TensorSpec

LIMITS = Acceptance(tie_lsb=2)
GRID = QuantParams.per_tensor(0.1, 100)


def with_output(
    manifest: Manifest, shape: tuple[int, ...], layout: str, meaning: str, dtype: str = "uint8"
) -> Manifest:
    spec = TensorSpec("out", shape, dtype, GRID if dtype == "uint8" else None)
    return replace(manifest, task="raw", outputs=(OutputContract(spec, layout, meaning),))


def u8(values: object) -> np.ndarray:
    return np.asarray(values, np.uint8)


def test_differences_do_not_wrap_around() -> None:
    found = differences("x", u8([0, 10, 20, 255]), u8([255, 10, 21, 253]))
    assert (found.equal, found.max_lsb, found.histogram) == (0.25, 255, (1, 1, 1, 1))


def test_sqnr() -> None:
    found = differences("x", u8([90, 110, 90, 110]), u8([91, 111, 91, 111]))
    assert found.sqnr_db == pytest.approx(20.0)  # variance 100 over noise 1
    assert differences("x", u8([1, 2]), u8([1, 2])).sqnr_db is None
    assert differences("x", u8([5, 5]), u8([6, 5])).sqnr_db is None


def test_top_1_with_ties(manifest: Manifest) -> None:
    expected = u8([[9, 50, 3, 0], [9, 50, 49, 0], [9, 50, 40, 0]])
    got = u8([[9, 51, 3, 0], [9, 48, 49, 0], [9, 48, 49, 0]])
    found = agreement(manifest, [expected], [got], LIMITS)
    assert (found.kind, found.passed) == ("top-1", False)
    assert found.share == pytest.approx(2 / 3)
    assert found.exact == pytest.approx(1 / 3)


def test_one_of_eight_frames_may_differ(manifest: Manifest) -> None:
    expected = np.tile(u8([90, 50, 3, 0]), (8, 1))
    got = expected.copy()
    got[0] = [50, 90, 3, 0]
    assert agreement(manifest, [expected], [got], Acceptance()).passed
    got[1] = [50, 90, 3, 0]
    assert not agreement(manifest, [expected], [got], Acceptance()).passed


def test_the_verdict_decides_where_there_is_one(manifest: Manifest) -> None:
    inspection = replace(manifest, task="defect", thresholds={"scratch": 0.5})
    expected = u8([[100, 180, 100, 100], [180, 100, 100, 100]])
    found = agreement(inspection, [expected], [expected[::-1]], LIMITS)
    assert (found.kind, found.share, found.passed) == ("verdict", 0.0, False)
    assert agreement(inspection, [expected], [expected - np.uint8(1)], LIMITS).share == 1.0


def test_an_inspection_with_a_map_must_agree_about_pixels_too(manifest: Manifest) -> None:
    inspection = replace(
        with_output(manifest, (1, 4, 4, 1), "NHWC", "logits"),
        task="anomaly",
        thresholds={"scratch": 0.5},
        decoding={"pixel_threshold": 0.9},
    )
    expected = np.full((2, 4, 4, 1), 130, np.uint8)  # logit 3, and that of 0.9 is 2.2
    expected[:, 2:] = 110
    assert agreement(inspection, [expected], [expected], LIMITS) == Agreement("verdict", 1.0, 1.0, 1.0, True)
    few = expected.copy()
    few[:, 0] = 110
    found = agreement(inspection, [expected], [few], LIMITS)
    assert (found.kind, found.share, found.passed) == ("mask", 0.75, False)
    found = agreement(inspection, [expected], [expected - np.uint8(100)], LIMITS)
    assert (found.kind, found.share, found.passed) == ("verdict", 0.0, False)


def test_masks(manifest: Manifest) -> None:
    contract = with_output(manifest, (1, 1, 4, 2), "NHWC", "logits")
    expected = u8([[[[9, 90], [9, 90], [90, 9], [90, 9]]]])
    got = u8([[[[9, 90], [90, 9], [90, 9], [90, 9]]]])
    found = agreement(contract, [expected], [got], LIMITS)
    assert (found.kind, found.share, found.exact, found.passed) == ("mask", 0.75, 0.75, False)
    assert found.iou == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(("meaning", "limit"), [("logits", 100), ("probabilities", 105)])
def test_binary_masks_are_cut_at_zero_or_one_half(manifest: Manifest, meaning: str, limit: int) -> None:
    contract = with_output(manifest, (1, 1, 4, 1), "NHWC", meaning)
    expected = u8([[[[limit - 9], [limit + 9], [limit], [limit + 9]]]])
    got = u8([[[[limit], [limit + 1], [limit + 1], [limit - 1]]]])
    found = agreement(contract, [expected], [got], LIMITS)
    assert (found.kind, found.share, found.exact) == ("mask", 0.75, 0.5)


def test_indices_must_be_equal(manifest: Manifest) -> None:
    contract = with_output(manifest, (1, 4), "NX", "raw", "int64")
    found = agreement(contract, [np.asarray([[1, 2, 3, 4]])], [np.asarray([[1, 2, 3, 5]])], LIMITS)
    assert (found.kind, found.share) == ("index", 0.75)


def test_what_decides_nothing_must_be_close(manifest: Manifest) -> None:
    contract = with_output(manifest, (1, 100), "NX", "raw")
    expected = np.full((1, 100), 50, np.uint8)
    got = expected.copy()
    got[0, 0] = 99
    got[0, 1:50] = 54
    found = agreement(contract, [expected], [got], LIMITS)
    assert (found.kind, found.share, found.exact, found.passed) == ("tolerance", 0.99, 0.5, True)
    got[0, 1] = 55
    assert not agreement(contract, [expected], [got], LIMITS).passed


def test_mean_iou_leaves_out_classes_that_were_not_expected() -> None:
    assert mean_iou(u8([1, 1, 2, 2]), u8([1, 1, 2, 3])) == 0.75


def test_a_wrong_contract(manifest: Manifest) -> None:
    check_contract(manifest, [np.zeros((1, 4), np.uint8)])
    with pytest.raises(BundleError, match=r"returned .*\(1, 5\).*the manifest says .*\(1, 4\)"):
        check_contract(manifest, [np.zeros((1, 5), np.uint8)])


def test_lane_markings_are_cut_at_the_threshold_of_the_bundle(manifest: Manifest) -> None:
    contract = replace(with_output(manifest, (1, 1, 2, 4), "NHWC", "logits"), task="lane")
    # At a probability of 0.75 the logit is 1.1: 111 on this grid.
    contract = replace(contract, decoding={"mark_threshold": 0.75})
    expected = u8([[[[100, 100, 105, 120], [90, 100, 109, 130]]]])
    assert agreement(contract, [expected], [expected - np.uint8(1)], LIMITS).exact == 1.0
    found = agreement(contract, [expected], [expected + np.uint8(6)], LIMITS)
    assert (found.kind, found.share, found.exact) == ("mask", 0.875, 0.75)
