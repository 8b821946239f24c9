from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import BundleError, EngineError, MissingEngineError, OptionError
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Content, Golden
from edgecnn.tensor import TensorSpec

pytest.importorskip("onnxruntime", reason="needs edgecnn[rpi]")


@pytest.fixture
def model(tmp_path: Path, files: dict[str, Content]) -> Path:
    content = files["model.onnx"]
    assert isinstance(content, bytes)
    (tmp_path / "model.onnx").write_bytes(content)
    return tmp_path / "model.onnx"


def specs(graph: IntegerGraph) -> tuple[list[TensorSpec], list[TensorSpec]]:
    return [graph.spec("frame")], [graph.spec("logits")]


@pytest.mark.parametrize("wide_pairs", [False, True])
def test_it_repeats_the_reference_bit_by_bit(
    model: Path, graph: IntegerGraph, golden: Golden, wide_pairs: bool
) -> None:
    with engines.load("onnxruntime", model, *specs(graph), threads=1, wide_pairs=wide_pairs) as engine:
        for index, expected in enumerate(golden.outputs[0]):
            (got,) = engine.run([golden.frames[index : index + 1]])
            assert got.dtype == np.uint8
            assert np.array_equal(got[0], expected)


def test_outputs_are_the_callers(model: Path, graph: IntegerGraph, golden: Golden) -> None:
    with engines.load("onnxruntime", model, *specs(graph)) as engine:
        (first,) = engine.run([golden.frames[:1]])
        kept = first.copy()
        first_again = engine.run([golden.frames[1:2]])[0]
        assert np.array_equal(first, kept)
        assert not np.array_equal(first_again, kept)


def test_wrong_inputs(model: Path, graph: IntegerGraph) -> None:
    engine = engines.load("onnxruntime", model, *specs(graph))
    with pytest.raises(EngineError, match=r"input 'frame' must be uint8 of shape \(1, 8, 8, 3\), got float32 of shape"):
        engine.run([np.zeros((1, 8, 8, 3), np.float32)])
    with pytest.raises(EngineError, match=r"got uint8 of shape \(8, 8, 3\)"):
        engine.run([np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(EngineError, match=r"takes 1 input\(s\) \(frame\), got 2"):
        engine.run([np.zeros((1, 8, 8, 3), np.uint8)] * 2)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.run([np.zeros((1, 8, 8, 3), np.uint8)])


def test_a_file_that_is_not_what_the_bundle_says(model: Path, graph: IntegerGraph) -> None:
    inputs, outputs = specs(graph)
    with pytest.raises(EngineError, match=r"output 'logits' must be uint8 of shape \(1, 5\), the file has uint8"):
        engines.load("onnxruntime", model, inputs, [replace(outputs[0], shape=(1, 5))])
    with pytest.raises(EngineError, match="must have the inputs image; the file has frame"):
        engines.load("onnxruntime", model, [replace(inputs[0], name="image")], outputs)


@pytest.mark.parametrize("data", [b"", b"no model", None])
def test_a_file_that_is_no_model(model: Path, graph: IntegerGraph, data: bytes | None) -> None:
    model.write_bytes(model.read_bytes()[:300] if data is None else data)
    with pytest.raises(
        (BundleError, EngineError), match=r"model.onnx: (ONNX Runtime .* cannot load it|it is no ONNX file)"
    ):
        engines.load("onnxruntime", model, *specs(graph))


def test_no_threads(model: Path, graph: IntegerGraph) -> None:
    with pytest.raises(EngineError, match="threads must be at least 1, got 0"):
        engines.load("onnxruntime", model, *specs(graph), threads=0)


def test_not_installed(model: Path, graph: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingEngineError, match=r"Install it: pip install 'edgecnn\[rpi\]'"):
        engines.load("onnxruntime", model, *specs(graph))


def test_an_unknown_engine(model: Path, graph: IntegerGraph) -> None:
    with pytest.raises(OptionError, match="Did you mean 'onnxruntime'"):
        engines.load("onnxruntme", model, *specs(graph))


def test_all_engines_are_found_by_their_file() -> None:
    assert {"onnxruntime", "litert", "reference"} <= set(engines.names())
    assert all(engines.module(name).NAME and engines.module(name).REQUIREMENT for name in engines.names())
