from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, Limits
from edgecnn.runtime.compare import (
    Judgement,
    check_contract,
    compare,
    differences,
    judgements,
    least_iou,
    mean_iou,
)
from edgecnn.tensor import QuantParams, TensorSpec

LIMITS = Limits("rounds otherwise.", decisions=1.0, overlap=0.9, steps=1)
GRID = QuantParams.per_tensor(0.1, 100)


def contract(
    name: str, shape: tuple[int, ...], layout: str, meaning: str = "raw", dtype: str = "uint8"
) -> OutputContract:
    return OutputContract(TensorSpec(name, shape, dtype, GRID if dtype == "uint8" else None), layout, meaning)


def with_output(
    manifest: Manifest, task: str, shape: tuple[int, ...], layout: str, meaning: str = "raw", dtype: str = "uint8"
) -> Manifest:
    return replace(manifest, task=task, outputs=(contract("out", shape, layout, meaning, dtype),))


def u8(values: object) -> np.ndarray:
    return np.asarray(values, np.uint8)


def test_differences_do_not_wrap_around() -> None:
    found = differences("x", u8([0, 10, 20, 255]), u8([255, 10, 21, 253]))
    assert (found.equal, found.max_lsb, found.histogram) == (0.25, 255, (1, 1, 1, 1))
    assert str(found) == "output 'x' differs in 3 of 4 integers, by up to 255"


def test_sqnr() -> None:
    found = differences("x", u8([90, 110, 90, 110]), u8([91, 111, 91, 111]))
    assert found.sqnr_db == pytest.approx(20.0)  # variance 100 over noise 1
    assert differences("x", u8([1, 2]), u8([1, 2])).sqnr_db is None
    assert differences("x", u8([5, 5]), u8([6, 5])).sqnr_db is None


@pytest.mark.parametrize("limits", [None, LIMITS])
def test_every_integer_equal_is_exact(manifest: Manifest, limits: Limits | None) -> None:
    found = compare(manifest, [u8([[9, 50, 3, 0]])], [u8([[9, 50, 3, 0]])], limits)
    assert (found.status, found.reason) == (EXACT, "")
    assert found.judgements == (Judgement("logits", "top-1", 1.0),)


def test_one_integer_off_by_one_is_exact_nowhere(manifest: Manifest) -> None:
    expected, got = u8([[9, 50, 3, 0]] * 8), u8([[9, 50, 3, 0]] * 7 + [[9, 51, 3, 0]])
    found = compare(manifest, [expected], [got], None)
    assert (found.status, found.reason) == (FAILED, "output 'logits' differs in 1 of 32 integers, by up to 1")
    found = compare(manifest, [expected], [got], LIMITS)
    assert (found.status, found.reason) == (EQUIVALENT, "rounds otherwise.")


def test_one_frame_of_eight_with_another_class_fails(manifest: Manifest) -> None:
    expected, got = u8([[9, 50, 49, 0]] * 8), u8([[9, 50, 49, 0]] * 7 + [[9, 49, 50, 0]])
    found = compare(manifest, [expected], [got], LIMITS)
    assert (found.status, found.reason) == (FAILED, "'logits': top-1 87.5%, the limit is 1")
    assert compare(manifest, [expected], [got], replace(LIMITS, decisions=0.875)).status == EQUIVALENT


def test_every_output_is_judged_and_not_the_first_alone(manifest: Manifest) -> None:
    """As of a face detector, whose scores agree and whose boxes do not."""
    outputs = (contract("scores", (1, 6, 2), "NAC"), contract("boxes", (1, 6, 4), "NAC"))
    detector = replace(manifest, task="raw", outputs=outputs)
    expected = [u8(np.arange(12).reshape(1, 6, 2)), u8(np.arange(24).reshape(1, 6, 4))]
    got = [expected[0], expected[1].copy()]
    got[1][0, 3, 2] += 2
    assert judgements(detector, expected, got) == (Judgement("scores", "steps", 0), Judgement("boxes", "steps", 2))
    found = compare(detector, expected, got, LIMITS)
    assert (found.status, found.reason) == (FAILED, "'boxes': 2 step(s), the limit is 1")
    found = compare(detector, expected, got, None)
    assert (found.status, found.reason) == (FAILED, "output 'boxes' differs in 1 of 24 integers, by up to 2")
    assert compare(detector, expected, [got[0] + u8(1), expected[1]], LIMITS).status == EQUIVALENT


def test_scores_that_decide_nothing_are_compared_in_steps(manifest: Manifest) -> None:
    for layout, shape in (("NC", (1, 4)), ("NHWC", (1, 2, 2, 4))):
        two_heads = replace(manifest, task="raw", outputs=(contract("a", shape, layout, "logits"),))
        expected = u8(np.full(shape, 90))
        assert judgements(two_heads, [expected], [expected + u8(3)]) == (Judgement("a", "steps", 3),)


def test_an_inspection_is_judged_by_map_vector_and_verdict(manifest: Manifest) -> None:
    inspection = replace(
        manifest,
        task="defect",
        outputs=(contract("map", (1, 4, 4, 1), "NHWC", "logits"), contract("kinds", (1, 4), "NC", "logits")),
        thresholds={},
        decoding={"threshold": 0.5, "pixel_threshold": 0.9},
    )
    cells = np.full((2, 4, 4, 1), 130, np.uint8)  # logit 3, and that of 0.9 is 2.2
    cells[:, 2:] = 110
    kinds = u8([[90, 130, 90, 90], [130, 60, 60, 60]])
    assert [str(item) for item in judgements(inspection, [cells, kinds], [cells, kinds])] == [
        "IoU 1.000",
        "top-1 100.0%",
        "verdict 100.0%",
    ]
    few = cells.copy()
    few[:, 0] = 110
    found = compare(inspection, [cells, kinds], [few, kinds], LIMITS)
    assert (found.status, found.reason) == (FAILED, "'map': IoU 0.500, the limit is 0.9")
    other = u8([[90, 130, 90, 90], [130, 60, 250, 60]])
    found = compare(inspection, [cells, kinds], [cells, other], LIMITS)
    assert found.reason == "'kinds': top-1 50.0%, the limit is 1; 'verdict': verdict 50.0%, the limit is 1"


def test_another_kind_of_defect_is_another_verdict(manifest: Manifest) -> None:
    inspection = replace(manifest, task="defect", thresholds={"scratch": 0.5, "dent": 0.5})
    expected, got = u8([[90, 200, 90, 90]]), u8([[90, 90, 200, 90]])
    assert judgements(inspection, [expected], [got])[-1] == Judgement("verdict", "verdict", 0.0)


def test_masks_are_judged_by_their_worst_class(manifest: Manifest) -> None:
    maps = with_output(manifest, "segment", (1, 1, 4, 2), "NHWC", "logits")
    expected = u8([[[[9, 90], [9, 90], [90, 9], [90, 9]]]])
    got = u8([[[[9, 90], [90, 9], [90, 9], [90, 9]]]])
    assert judgements(maps, [expected], [got]) == (Judgement("out", "mask", 0.5),)


@pytest.mark.parametrize(("meaning", "limit"), [("logits", 100), ("probabilities", 105)])
def test_binary_masks_are_cut_at_zero_or_one_half(manifest: Manifest, meaning: str, limit: int) -> None:
    maps = with_output(manifest, "segment", (1, 1, 4, 1), "NHWC", meaning)
    expected = u8([[[[limit - 9], [limit + 9], [limit], [limit + 9]]]])
    got = u8([[[[limit], [limit + 1], [limit + 1], [limit + 1]]]])
    assert judgements(maps, [expected], [got])[0].value == 0.5  # of the pixels below; 2/3 of those above


def test_lane_markings_are_cut_at_the_threshold_of_the_bundle(manifest: Manifest) -> None:
    # At a probability of 0.75 the logit is 1.1: 111 on this grid.
    lanes = with_output(manifest, "lane", (1, 1, 2, 4), "NHWC", "logits")
    lanes = replace(lanes, decoding={"mark_threshold": 0.75})
    expected = u8([[[[100, 100, 105, 120], [90, 100, 109, 130]]]])
    assert judgements(lanes, [expected], [expected - np.uint8(1)])[0].value == 1.0
    assert judgements(lanes, [expected], [expected + np.uint8(6)])[0].value == 0.5  # two marks of four


def test_indices_are_compared_as_they_are(manifest: Manifest) -> None:
    one = with_output(manifest, "raw", (1, 1), "NX", dtype="int64")
    pair = np.asarray([[1], [2]]), np.asarray([[1], [300]])
    assert judgements(one, [pair[0]], [pair[1]]) == (Judgement("out", "index", 0.5),)
    many = with_output(manifest, "segment", (1, 1, 4), "NHW", dtype="int64")
    pair = np.asarray([[[1, 1, 2, 2]]]), np.asarray([[[1, 1, 2, 3]]])
    assert judgements(many, [pair[0]], [pair[1]]) == (Judgement("out", "mask", 0.0),)


def test_overlap() -> None:
    assert mean_iou(u8([1, 1, 2, 2]), u8([1, 1, 2, 3])) == 0.75  # of the classes expected
    assert least_iou(u8([1, 1, 2, 2]), u8([1, 1, 2, 3])) == 0.0  # of the classes in either
    assert least_iou(u8([0, 0]), u8([0, 0])) == 1.0


def test_a_wrong_contract(manifest: Manifest) -> None:
    check_contract(manifest, [np.zeros((1, 4), np.uint8)])
    with pytest.raises(BundleError, match=r"returned .*\(1, 5\).*the manifest says .*\(1, 4\)"):
        check_contract(manifest, [np.zeros((1, 5), np.uint8)])
