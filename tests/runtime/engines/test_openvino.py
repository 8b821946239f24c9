from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import EngineError, MissingEngineError
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Golden
from edgecnn.runtime.engines.openvino import execution_precisions


@pytest.fixture
def model(tmp_path: Path, graph: IntegerGraph) -> Path:
    """The tiny classifier as OpenVINO IR."""
    pytest.importorskip("openvino", reason="needs edgecnn[intel]")
    importlib.import_module("edgecnn.export.openvino").write(graph, tmp_path / "model.xml")
    return tmp_path / "model.xml"


def test_it_computes_what_the_reference_computes(model: Path, graph: IntegerGraph, golden: Golden) -> None:
    with engines.load("openvino", model, [graph.spec("frame")], [graph.spec("logits")], threads=1) as engine:
        rows = [engine.run([golden.frames[index : index + 1]])[0] for index in range(len(golden.frames))]
    got = np.concatenate(rows)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - golden.outputs[0].astype(int)).max() <= 1


def test_outputs_belong_to_the_caller(model: Path, graph: IntegerGraph, golden: Golden) -> None:
    with engines.load("openvino", model, [graph.spec("frame")], [graph.spec("logits")]) as engine:
        (first,) = engine.run([golden.frames[:1]])
        kept = first.copy()
        (second,) = engine.run([255 - golden.frames[:1]])
        assert np.array_equal(first, kept)
        assert not np.array_equal(first, second)
    assert np.array_equal(first, kept)
    assert first.flags.writeable


def test_inputs_may_lie_anyhow_in_memory_and_are_not_written_to(
    model: Path, graph: IntegerGraph, golden: Golden
) -> None:
    frame = np.asfortranarray(golden.frames[:1])
    frame.setflags(write=False)
    with engines.load("openvino", model, [graph.spec("frame")], [graph.spec("logits")], threads=1) as engine:
        assert np.array_equal(engine.run([frame])[0], engine.run([np.ascontiguousarray(frame)])[0])


def test_wrong_inputs(model: Path, graph: IntegerGraph, golden: Golden) -> None:
    engine = engines.load("openvino", model, [graph.spec("frame")], [graph.spec("logits")], threads=1)
    with pytest.raises(EngineError, match=r"input 'frame' must be uint8 of shape \(1, 8, 8, 3\), got float32"):
        engine.run([golden.frames[:1].astype(np.float32)])
    with pytest.raises(EngineError, match=r"takes 1 input\(s\) \(frame\), got 0"):
        engine.run([])
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.run([golden.frames[:1]])


def test_another_contract_is_refused(model: Path, graph: IntegerGraph) -> None:
    frame, logits = graph.spec("frame"), graph.spec("logits")
    with pytest.raises(EngineError, match=r"output 'logits' must be uint8 of shape \(1, 5\), the file has uint8 of"):
        engines.load("openvino", model, [frame], [replace(logits, shape=(1, 5))])
    with pytest.raises(EngineError, match=r"must have the inputs picture; the file has frame"):
        engines.load("openvino", model, [replace(frame, name="picture")], [logits])


def test_a_file_that_is_no_model(tmp_path: Path, graph: IntegerGraph) -> None:
    pytest.importorskip("openvino", reason="needs edgecnn[intel]")
    (tmp_path / "a.xml").write_text("no model at all")
    for name in ("a.xml", "none.xml"):
        with pytest.raises(EngineError, match=rf"{name}: OpenVINO .* cannot load it"):
            engines.load("openvino", tmp_path / name, [graph.spec("frame")], [graph.spec("logits")])


def test_weights_that_are_missing(model: Path, graph: IntegerGraph) -> None:
    model.with_suffix(".bin").unlink()
    with pytest.raises(EngineError, match=r"model.xml: OpenVINO .* cannot load it"):
        engines.load("openvino", model, [graph.spec("frame")], [graph.spec("logits")])


def test_not_installed(tmp_path: Path, graph: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingEngineError, match=r"pip install 'edgecnn\[intel\]'"):
        engines.load("openvino", tmp_path / "a.xml", [graph.spec("frame")], [graph.spec("logits")])


def test_the_convolution_runs_in_integers(model: Path) -> None:
    layers = execution_precisions(model)
    assert [(kind, precision) for _, kind, precision in layers if kind == "Convolution"] == [("Convolution", "u8")]
    assert all(name and kind and precision for name, kind, precision in layers)
