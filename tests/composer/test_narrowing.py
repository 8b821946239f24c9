"""Targets with fewer weight bits: what the report says they cost, and that the note names who pays for whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgecnn.composer import Request, build, open_model, stages
from edgecnn.integer_graph import IntegerGraph
from edgecnn.profile import TargetProfile, load_target
from edgecnn.report.document import Report
from edgecnn.runtime.bundle import Bundle
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files


def make(folder: Path, *targets: str) -> Report:
    """Build a bundle of one convolution for ``targets`` from frames that can be asked for only once."""
    body = [helper.make_node("Relu", ["conv"], ["logits"], "relu")]
    source = open_model(str(onnx_files.write(folder / "net.onnx", body, output=(1, 4, 16, 16))))
    frames = np.random.default_rng(2).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    request = Request(source, source.expects, targets, Frames(iter(frames)), "fast", overwrite=True)
    return build(request, folder / "bundle")


def largest_weight(folder: Path) -> int:
    graph = IntegerGraph.load(folder / "bundle" / "graph.npz")
    return max(int(np.abs(array.astype(int)).max()) for array in graph.constants.values() if array.dtype == np.int8)


def test_the_cost_stands_in_the_report(tmp_path: Path) -> None:
    report = make(tmp_path, "x86", "intel-avx2")

    found = report["narrowing"]
    assert (found["targets"], found["others"]) == (["x86", "intel-avx2"], [])
    assert (found["weight_bits"], found["frames"], largest_weight(tmp_path)) == (7, 8, 63)
    assert found["sqnr_db"] is not None
    assert found["sqnr_db_8_bits"] is not None
    # One bit is 6 dB of the weights' noise; the activations' noise stays.
    assert 0.5 < found["sqnr_db_8_bits"] - found["sqnr_db"] < 8
    assert [engine["max_lsb"] for engine in report["engines"]] == [0, 0]
    page = (tmp_path / "bundle" / "report.html").read_text()
    assert f"7 bits, for x86, intel-avx2: signal to noise {found['sqnr_db']:.1f} dB" in page


def test_the_note_says_who_narrows_whom(tmp_path: Path) -> None:
    (note,) = [text for text in make(tmp_path, "rpi", "x86")["notes"] if "bits" in text]

    assert note.startswith("x86: the weights have 7 bits. Signal to noise ")
    assert note.endswith("rpi would keep 8, but all targets of a bundle share one graph: export apart.")


def test_8_bits_cost_nothing_to_report(tmp_path: Path) -> None:
    report = make(tmp_path, "rpi", "intel")

    assert "narrowing" not in report
    assert not [text for text in report["notes"] if "bits" in text]
    assert largest_weight(tmp_path) == 127


def test_settings_of_the_profile_reach_the_manifest_and_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def precise(name: str) -> TargetProfile:
        return replace(load_target(name), settings={"x64quantprecision": True})

    monkeypatch.setattr(stages, "load_target", precise)
    report = make(tmp_path, "rpi")

    assert [engine["max_lsb"] for engine in report["engines"]] == [0]
    with Bundle.open(tmp_path / "bundle") as bundle:
        assert bundle.engines[0].settings == {"x64quantprecision": True}
