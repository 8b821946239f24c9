"""What a map and a vector say about a surface, on numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from edgecnn.errors import DataError, EdgecnnError
from edgecnn.fields import Scalar
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.runtime.evaluation.observe import RealOutput
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.results import Decision, Output, Verdict
from edgecnn.vision.surface import MOST_POINTS, MOST_REGIONS, regions
from edgecnn.vision.tasks import decoder

TENTHS = QuantParams.per_tensor(0.1, 100)
LABELS = ("good", "scratch", "dent")
SIDE = 64


def contract_of(side: int, labels: tuple[str, ...], decoding: dict[str, Scalar], task: str, vector: int) -> Manifest:
    """A network that takes SIDE x SIDE frames and gives a map of ``side`` (0 for none) and so many classes."""
    frame = TensorSpec("frame", (1, SIDE, SIDE, 3), "uint8", QuantParams.per_tensor(1 / 255))
    outputs = []
    if side:
        outputs.append(OutputContract(TensorSpec("mask", (1, side, side, 1), "uint8", TENTHS), "NHWC", "logits"))
    if vector:
        outputs.append(OutputContract(TensorSpec("classes", (1, vector), "uint8", TENTHS), "NC", "logits"))
    return Manifest(
        "t",
        task,
        InputContract(frame, "bgr"),
        tuple(outputs),
        (EngineEntry("reference", "any", ("graph.npz",)),),
        Provenance("0", "m", "0" * 64, "fast", "0" * 64, 1),
        labels,
        decoding=decoding,
    )


def decide(
    scores: np.ndarray | None,
    classes: list[list[int]] | None,
    labels: tuple[str, ...] = LABELS,
    task: str = "defect",
    **decoding: Scalar,
) -> Decision:
    side = 0 if scores is None else scores.shape[0]
    told = {"threshold": 0.5, **decoding}
    manifest = contract_of(side, labels, told, task, 0 if classes is None else len(classes[0]))
    arrays = [] if scores is None else [scores[None, :, :, None]]
    arrays += [] if classes is None else [np.asarray(classes, np.uint8)]
    return decoder(manifest)([Output(*pair) for pair in zip(manifest.outputs, arrays, strict=True)])


def surface(side: int = 32, value: int = 60) -> np.ndarray:
    return np.full((side, side), value, np.uint8)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


# Score and label


def test_both_outputs_meet_halfway_between_their_logits() -> None:
    scores = surface()
    scores[4, 4:8] = [110, 120, 130, 140]  # logits 1, 2, 3, 4
    decision = decide(scores, [[100, 120, 90]], peak_pixels=2)
    kind = math.log(math.exp(2) + math.exp(-1)) - 0
    assert decision.score == pytest.approx(sigmoid((3.5 + kind) / 2), abs=1e-9)
    assert (decision.verdict, decision.label) == (Verdict.REJECT, "scratch")
    assert decision.caption == f"scratch {decision.score:.2f}"
    assert sum(decision.scores.values()) == pytest.approx(1)


def test_more_peak_pixels_than_there_are_take_all() -> None:
    assert decide(surface(4, 110), None, peak_pixels=10**6).score == pytest.approx(sigmoid(1), abs=1e-9)


def test_a_map_alone_decides_alone() -> None:
    scores = surface()
    scores[4, 4] = 125
    decision = decide(scores, None, ("good", "anomaly"), "anomaly", threshold=0.9)
    assert (decision.verdict, decision.label) == (Verdict.REJECT, "anomaly")
    assert decision.score == pytest.approx(sigmoid(2.5), abs=1e-9)
    assert decision.scores == {"good": pytest.approx(1 - decision.score), "anomaly": decision.score}


def test_anomaly_does_not_read_a_vector() -> None:
    decision = decide(surface(), [[0, 250, 250]], LABELS, "anomaly")
    assert (decision.verdict, decision.label) == (Verdict.PASS, "good")
    with pytest.raises(DataError, match="needs a map"):
        decide(None, [[100, 120, 90]], task="anomaly")


def test_a_vector_alone_with_one_threshold_for_all_labels() -> None:
    # Each defect is less probable than good, both together are more: no label of its own would reject.
    decision = decide(None, [[100, 95, 98]])
    assert decision.score == pytest.approx(1 - 1 / (1 + math.exp(-0.5) + math.exp(-0.2)), abs=1e-9)
    assert (decision.verdict, decision.label) == (Verdict.REJECT, "dent")


@pytest.mark.parametrize(("threshold", "verdict"), [(0.5, Verdict.REJECT), (0.500001, Verdict.PASS)])
def test_the_threshold_itself_rejects(threshold: float, verdict: Verdict) -> None:
    decision = decide(surface(8, 100), None, threshold=threshold)
    assert (decision.score, decision.verdict) == (0.5, verdict)


def test_a_sound_part_is_called_good_and_has_no_regions_but_a_mask() -> None:
    scores = surface()
    scores[3, 3] = 104
    decision = decide(scores, [[130, 90, 90]])
    assert (decision.verdict, decision.label, decision.regions) == (Verdict.PASS, "good", ())
    assert decision.caption == "good"
    assert decision.mask is not None
    assert np.argwhere(decision.mask).tolist() == [[3, 3]]


def test_of_tiles_the_worst_one_says_what_it_is() -> None:
    decision = decide(surface(), [[130, 90, 90], [100, 90, 140], [100, 130, 90]])
    assert decision.label == "dent"
    assert decision.scores["dent"] > 0.9


def test_a_single_score_is_that_of_the_defect() -> None:
    decision = decide(surface(8, 90), [[130]], ("defect",))
    assert decision.score == pytest.approx(sigmoid((-1 + 3) / 2), abs=1e-9)
    assert decision.label == "defect"


@settings(max_examples=50)
@given(
    st_numpy.arrays(np.uint8, (8, 8)),
    st.lists(st.integers(0, 255), min_size=3, max_size=3),
    st.integers(1, 70),
    st.floats(0.01, 0.99),
)
def test_integers_and_the_real_values_that_they_stand_for_decide_alike(
    scores: np.ndarray, classes: list[int], peak: int, pixel: float
) -> None:
    told: dict[str, Scalar] = {"threshold": 0.5, "peak_pixels": peak, "pixel_threshold": pixel}
    manifest = contract_of(8, LABELS, told, "defect", 3)
    arrays = [scores[None, :, :, None], np.asarray([classes], np.uint8)]
    integers = [Output(*pair) for pair in zip(manifest.outputs, arrays, strict=True)]
    real = [RealOutput(output.contract, output.real) for output in integers]
    decode = decoder(manifest)
    one, other = decode(integers), decode(real)
    assert (one.verdict, one.label, one.score) == (other.verdict, other.label, other.score)
    assert np.array_equal(one.mask, other.mask)
    assert [(item.score, item.area) for item in one.regions] == [(item.score, item.area) for item in other.regions]


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ({"threshold": "high"}, "'decoding.threshold' must be a number"),
        ({"peak_pixels": "many"}, "a number as 'peak_pixels', got 'many'"),
        ({"peak_pixels": 0}, "peak_pixels of 1 or more"),
        ({"pixel_threshold": 1.0}, "0 < pixel_threshold < 1"),
        ({"smallest_region": -1}, "smallest_region of 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(decoding: dict[str, Scalar], message: str) -> None:
    with pytest.raises(EdgecnnError, match=message):
        decide(surface(), None, **decoding)


def test_outputs_that_are_no_inspection_are_refused() -> None:
    manifest = contract_of(8, LABELS, {"threshold": 0.5}, "defect", 2)
    scores = manifest.outputs[0]
    other = replace(scores, tensor=replace(scores.tensor, name="other"))
    with pytest.raises(DataError, match="3 labels, its output has 2 scores"):
        decoder(manifest)
    with pytest.raises(DataError, match=r"one map .* one vector .* or both, got NHWC .*, NHWC"):
        decoder(replace(manifest, outputs=(scores, other)))
    with pytest.raises(DataError, match="is raw"):
        decoder(replace(manifest, outputs=(replace(scores, meaning="raw"),)))
    with pytest.raises(DataError, match="needs one threshold"):
        decoder(contract_of(8, LABELS, {}, "anomaly", 0))


@pytest.mark.parametrize(("pixel_threshold", "marked"), [(1e-7, 64), (0.5, 16), (1 - 1e-7, 0)])
def test_a_mask_marks_from_its_threshold_on(pixel_threshold: float, marked: int) -> None:
    scores = surface(8, 0)
    scores[2:6, 2:6] = 255
    scores[2, 2] = 100
    decision = decide(scores, None, pixel_threshold=pixel_threshold)
    assert decision.mask is not None
    assert (decision.mask.dtype, decision.mask.sum()) == (np.uint8, marked)


# Regions


def test_regions_have_outlines_along_the_edges_of_pixels_in_the_models_picture() -> None:
    scores = surface()
    scores[8:12, 4:10] = 130
    scores[9, 6] = 150
    scores[20, 20] = 110
    decision = decide(scores, None)
    first, second = decision.regions
    # Each pixel of the map is two of the model's picture.
    assert (first.label, first.score) == ("scratch", pytest.approx(sigmoid(5), abs=1e-9))
    assert (first.box, first.area) == ((8, 16, 20, 24), 96)
    assert sorted(map(tuple, first.polygon.tolist())) == [(8, 16), (8, 24), (20, 16), (20, 24)]
    assert (second.box, second.area) == ((40, 40, 42, 42), 4)


def test_small_regions_are_left_out_and_corners_connect() -> None:
    scores = surface()
    for index in range(5):
        scores[index + 3, index + 3] = 130
    scores[20, 20] = 160
    (region,) = decide(scores, None, smallest_region=8).regions
    assert (region.box, region.area) == ((6, 6, 16, 16), 20)


def test_a_region_within_the_hole_of_another_has_its_own_outline() -> None:
    scores = surface()
    cv2.circle(scores, (15, 15), 12, 140, 2)
    scores[15, 15] = 130
    ring, dot = decide(scores, None).regions
    assert dot.box == (30, 30, 32, 32)
    assert ring.box[0] < 8 < 54 < ring.box[2]
    assert ring.area < 1000


def test_there_are_no_more_regions_and_points_than_can_be_looked_at() -> None:
    scores = np.random.default_rng(0).integers(60, 140, (64, 64), np.uint8)
    scores[::7] = scores[:, ::7] = 0
    decision = decide(scores, None)
    assert len(decision.regions) == MOST_REGIONS
    assert [item.score for item in decision.regions] == sorted((item.score for item in decision.regions), reverse=True)
    comb = surface(128)
    comb[10] = comb[10:120:1, ::2] = 130
    (region,) = decide(comb, None).regions
    assert 3 <= len(region.polygon) <= MOST_POINTS


@settings(max_examples=60)
@given(st_numpy.arrays(np.bool_, (12, 12)))
def test_every_pixel_of_a_mask_is_in_exactly_one_region(wanted: np.ndarray) -> None:
    scores = np.where(wanted, 130, 70).astype(np.uint8)
    manifest = contract_of(12, LABELS, {"threshold": 0.5}, "defect", 0)
    output = Output(manifest.outputs[0], scores[None, :, :, None])
    mask = decoder(manifest)([output]).mask
    assert mask is not None
    found = regions(mask, output, "x", (12, 12))
    assert np.array_equal(mask, wanted)
    if len(found) < MOST_REGIONS:
        assert sum(item.area for item in found) == wanted.sum()
    for item in found:
        left, top, right, bottom = (int(side) for side in item.box)
        assert wanted[top:bottom, left:right].sum() >= item.area
        assert len(item.polygon) >= 3
