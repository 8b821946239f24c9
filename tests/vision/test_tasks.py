from __future__ import annotations

import math

import numpy as np
import pytest

from edgecnn.errors import DataError, OptionError
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.results import Output, Result, Verdict
from edgecnn.vision.tasks import decoder

FRAME = TensorSpec("frame", (1, 8, 8, 3), "uint8", QuantParams.per_tensor(1 / 255))

TENTHS = QuantParams.per_tensor(0.1, 100)


def case(
    task: str,
    integers: np.ndarray,
    meaning: str,
    labels: tuple[str, ...] = (),
    thresholds: dict[str, float] | None = None,
    grid: QuantParams | None = TENTHS,
) -> tuple[Manifest, Output]:
    spec = TensorSpec("out", integers.shape, integers.dtype.name, grid)
    contract = OutputContract(spec, {2: "NC", 3: "NHW", 4: "NHWC"}[integers.ndim], meaning)
    manifest = Manifest(
        "t",
        task,
        InputContract(FRAME, "bgr"),
        (contract,),
        (EngineEntry("reference", "any", ("graph.npz",)),),
        Provenance("0", "m", "0" * 64, "fast", "0" * 64, 1),
        labels,
        thresholds or {},
    )
    return manifest, Output(contract, integers)


def u8(*values: int) -> np.ndarray:
    return np.asarray([values], np.uint8)


def test_classify_logits_become_a_softmax() -> None:
    manifest, output = case("classify", u8(100, 110, 90), "logits", ("a", "b", "c"))
    decision = decoder(manifest)([output])
    assert decision.label == "b"
    assert decision.score == pytest.approx(math.e / (1 + math.e + 1 / math.e), rel=1e-6)
    assert sum(decision.scores.values()) == pytest.approx(1)
    assert decision.verdict is None


def test_classify_probabilities_stay_and_indices_name_classes() -> None:
    manifest, output = case("classify", u8(10, 200, 46), "probabilities", grid=QuantParams.per_tensor(1 / 256))
    decision = decoder(manifest)([output])
    assert (decision.label, decision.score) == ("1", 200 / 256)


@pytest.mark.parametrize(
    ("integers", "meaning", "labels", "message"),
    [
        (u8(1, 2), "raw", (), "it is raw"),
        (u8(1, 2), "logits", ("a",), "has 1 labels, its output has 2 scores"),
        (np.zeros((1, 2, 2), np.uint8), "logits", (), "must be one vector of scores"),
    ],
)
def test_what_is_no_classification_is_refused(
    integers: np.ndarray, meaning: str, labels: tuple[str, ...], message: str
) -> None:
    manifest, output = case("classify", integers, meaning, labels)
    with pytest.raises(DataError, match=message):
        decoder(manifest)([output])


@pytest.mark.parametrize(
    ("threshold", "verdict"), [(0.5, Verdict.REJECT), (0.5001, Verdict.PASS), (0.1, Verdict.REJECT)]
)
def test_defect_rejects_from_the_threshold_on(threshold: float, verdict: Verdict) -> None:
    manifest, output = case("defect", u8(100), "logits", ("defect",), {"defect": threshold})
    decision = decoder(manifest)([output])
    assert (decision.verdict, decision.score) == (verdict, 0.5)


def test_defect_names_the_label_that_decided() -> None:
    grid = QuantParams.per_tensor(1 / 256)
    limits = {"dent": 0.9, "scratch": 0.3}
    manifest, output = case("defect", u8(26, 102, 128), "probabilities", ("good", "scratch", "dent"), limits, grid)
    decision = decoder(manifest)([output])
    assert (decision.verdict, decision.label, decision.score) == (Verdict.REJECT, "scratch", 102 / 256)


def test_defect_without_a_threshold_is_refused() -> None:
    manifest, output = case("defect", u8(1, 2), "logits", ("good", "bad"))
    with pytest.raises(DataError, match="nothing could ever be rejected"):
        decoder(manifest)([output])


def test_of_tiles_the_score_farthest_beyond_its_threshold_decides() -> None:
    grid = QuantParams.per_tensor(1 / 256)
    rows = np.asarray([[200, 20, 20], [20, 20, 210], [100, 90, 30]], np.uint8)
    limits = {"dent": 0.9, "scratch": 0.3}
    manifest, output = case("defect", rows, "probabilities", ("good", "scratch", "dent"), limits, grid)
    decision = decoder(manifest)([output])
    assert (decision.verdict, decision.label, decision.score) == (Verdict.REJECT, "scratch", 90 / 256)
    assert decision.scores["good"] == 100 / 256


def test_segment() -> None:
    maps = np.asarray([[[[1, 9, 3], [7, 2, 2]]]], np.uint8)
    manifest, output = case("segment", maps, "logits")
    mask = decoder(manifest)([output]).mask
    assert mask is not None
    assert (mask.dtype, mask.tolist()) == (np.uint8, [[1, 0]])
    manifest, output = case("segment", np.asarray([[[[100], [101]]]], np.uint8), "logits")
    mask = decoder(manifest)([output]).mask
    assert mask is not None
    assert mask.tolist() == [[0, 1]]
    manifest, output = case("segment", np.asarray([[[3, 0], [1, 2]]], np.int64), "raw", grid=None)
    mask = decoder(manifest)([output]).mask
    assert mask is not None
    assert mask.tolist() == [[3, 0], [1, 2]]


def test_raw_decides_nothing_and_outputs_are_found_by_name() -> None:
    manifest, output = case("raw", u8(100, 110), "raw")
    result = Result(decoder(manifest)([output]), (output,))
    assert (result.label, result.score, result.verdict) == (None, None, None)
    assert np.allclose(result.output("out").real, [[0, 1]])
    with pytest.raises(DataError, match="no output 'x'; there are: out"):
        result.output("x")


def test_an_unknown_task_suggests_a_near_one() -> None:
    with pytest.raises(OptionError, match="Did you mean 'classify'"):
        decoder(case("clasify", u8(1, 2), "logits")[0])
