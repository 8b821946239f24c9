"""The threshold after quantisation: INT8 decides as float does, as far as one number can make it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgecnn.composer import Request, build, open_model
from edgecnn.composer.operating_point import fitted
from edgecnn.manifest import Manifest
from edgecnn.report.document import Report
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.evaluation.inspection import inspection
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files

SCORES = st.integers(0, 40).map(lambda step: step / 40)


def changed(scores: list[tuple[float, float]], threshold: float, place: float) -> int:
    return sum((before >= threshold) != (after >= place) for before, after in scores)


def test_a_threshold_that_keeps_every_decision_stays() -> None:
    assert fitted([(0.2, 0.25), (0.6, 0.55), (0.9, 0.9)], 0.5) == 0.5
    assert fitted([], 0.5) == 0.5


def test_scores_that_have_moved_take_the_threshold_with_them() -> None:
    moved = [(0.2, 0.1), (0.45, 0.3), (0.55, 0.42), (0.8, 0.7)]
    assert fitted(moved, 0.5) == pytest.approx(0.415)
    assert fitted([(0.4, 0.6), (0.9, 0.8)], 0.5) == pytest.approx(0.605)
    assert fitted([(0.4, 0.6), (0.9, 0.606)], 0.5) == pytest.approx(0.603)


def test_of_two_wrong_decisions_the_false_reject_is_the_smaller_evil() -> None:
    crossed = [(0.1, 0.1), (0.4, 0.7), (0.6, 0.6), (0.9, 0.9)]
    assert fitted(crossed, 0.55) == 0.55
    assert fitted([(0.1, 0.1), (0.4, 0.55), (0.6, 0.48), (0.9, 0.9)], 0.5) == pytest.approx(0.475)


def test_one_score_for_all_leaves_nothing_to_choose() -> None:
    assert fitted([(0.1, 0.3), (0.9, 0.3)], 0.5) == 0.5


@given(st.lists(st.tuples(SCORES, SCORES), max_size=12), SCORES)
def test_no_threshold_between_the_scores_keeps_more_decisions(
    scores: list[tuple[float, float]], threshold: float
) -> None:
    best = fitted(scores, threshold)
    known = sorted({after for _, after in scores})
    gaps = [(low + high) / 2 for low, high in itertools.pairwise(known)]
    assert changed(scores, threshold, best) == min(changed(scores, threshold, place) for place in [threshold, *gaps])


def inspected(folder: Path, told: bool) -> tuple[Manifest, Report]:
    """Export an inspection whose scores lie close to its threshold, in few steps of a coarse grid."""
    random = np.random.default_rng(4)
    levels = random.integers(60, 120, 48)[:, None, None, None]
    frames = np.clip(levels + random.integers(-40, 41, (48, 16, 16, 3)), 0, 255).astype(np.uint8)
    body = [helper.make_node("Identity", ["conv"], ["logits"], "end")]
    kernel = np.abs(onnx_files.weight()[:1]) * 40
    source = open_model(str(onnx_files.write(folder / "net.onnx", body, kernel=kernel, output=(1, 1, 16, 16))))
    decoding = {"threshold": 0.9, "pixel_threshold": 0.5, "peak_pixels": 4}
    expects = replace(source.expects, task="anomaly", mean=(0.5,), decoding=decoding)
    expects = expects.with_threshold(0.9) if told else expects
    report = build(Request(source, expects, ("rpi",), Frames(frames), "fast"), folder / "bundle")
    with Bundle.open(folder / "bundle") as bundle:
        return bundle.manifest, report


def test_an_export_moves_the_threshold_and_says_so(tmp_path: Path) -> None:
    manifest, report = inspected(tmp_path, told=False)
    assert manifest.provenance.threshold == 0.9
    assert manifest.threshold is not None
    assert 0.9 < manifest.threshold < 0.96
    assert manifest.of_float.threshold == 0.9
    verdicts = report["fidelity"]["verdicts"]
    assert verdicts is not None
    assert (verdicts["escapes"], verdicts["false_rejects"]) == (0, 0)
    assert verdicts["threshold"] == manifest.threshold
    assert any("the threshold is" in note and "--threshold 0.9" in note for note in report["notes"])


def test_a_threshold_that_was_asked_for_stays_and_what_it_costs_is_counted(tmp_path: Path) -> None:
    manifest, report = inspected(tmp_path, told=True)
    assert (manifest.threshold, manifest.provenance.threshold) == (0.9, None)
    verdicts = report["fidelity"]["verdicts"]
    assert verdicts is not None
    assert verdicts["false_rejects"] == 1


def test_evaluation_judges_float_at_floats_threshold(tmp_path: Path) -> None:
    manifest, _ = inspected(tmp_path, told=False)
    verdict = {"decision": "REJECT", "score": 0.91}
    row = {"picture": "a", "digest": "", "label": "REJECT", "float": verdict, "int8": verdict, "overlap": None}
    found = inspection([row], manifest)  # type: ignore[list-item]
    assert found is not None
    assert found["float"] is not None
    assert found["float"]["threshold"] == 0.9
    assert found["int8"]["threshold"] == manifest.threshold
