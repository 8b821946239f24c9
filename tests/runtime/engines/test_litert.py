from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgecnn.errors import BundleError, EngineError, MissingEngineError
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Golden
from edgecnn.runtime.engines import litert
from edgecnn.tensor import QuantParams, TensorSpec

FRAME = TensorSpec("input", (1, 128, 128, 3), "uint8", QuantParams.per_tensor(0.0078125, 128))
SCORES = TensorSpec("MobilenetV1/Predictions/Reshape_1", (1, 1001), "uint8", QuantParams.per_tensor(1 / 256))


@pytest.fixture(scope="module")
def coral(data_dir: Path) -> Path:
    pytest.importorskip("ai_edge_litert", reason="needs edgecnn[coral]")
    return data_dir / "models" / "coral"


@pytest.fixture
def model(tmp_path: Path, graph: IntegerGraph) -> Path:
    """The tiny classifier as TFLite: int8 inside and outside."""
    pytest.importorskip("ai_edge_litert", reason="needs edgecnn[coral]")
    importlib.import_module("edgecnn.export.tflite").write(graph, tmp_path / "model.tflite")
    return tmp_path / "model.tflite"


def test_int8_models_speak_uint8(model: Path, graph: IntegerGraph, golden: Golden) -> None:
    with engines.load("litert", model, [graph.spec("frame")], [graph.spec("logits")], threads=1) as engine:
        rows = [engine.run([golden.frames[index : index + 1]])[0] for index in range(len(golden.frames))]
    got = np.concatenate(rows)
    assert got.dtype == np.uint8
    assert np.array_equal(got, golden.outputs[0])


@pytest.mark.parametrize("compiled", [False, True])
def test_only_a_model_compiled_for_the_edge_tpu_need_not_be_exact(
    model: Path, graph: IntegerGraph, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    real = importlib.import_module("ai_edge_litert.interpreter")
    package = ModuleType("package")
    package.load_delegate = lambda library: library
    package.Interpreter = lambda experimental_delegates, **given: real.Interpreter(**given)
    monkeypatch.setattr(litert, "_import_package", lambda: package)
    if compiled:
        model.write_bytes(model.read_bytes() + b"edgetpu-custom-op")
    with engines.load("litert", model, [graph.spec("frame")], [graph.spec("logits")], threads=1) as engine:
        assert engine.exact is not compiled


@pytest.mark.data
def test_a_model_made_by_others(coral: Path) -> None:
    path = coral / "mobilenet_v1_0.25_128_quant.tflite"
    rng = np.random.default_rng(0)
    with engines.load("litert", path, [FRAME], [SCORES], threads=1) as engine:
        frame = rng.integers(0, 256, FRAME.shape, dtype=np.uint8)
        (first,) = engine.run([frame])
        kept = first.copy()
        (other,) = engine.run([255 - frame])
        assert np.array_equal(first, kept)
        assert not np.array_equal(other, first)
        assert abs(int(first.sum()) - 256) <= 40  # probabilities on a grid of 1/256
        assert np.array_equal(engine.run([frame])[0], first)


@pytest.mark.data
def test_wrong_inputs_and_specs(coral: Path) -> None:
    path = coral / "mobilenet_v1_0.25_128_quant.tflite"
    engine = engines.load("litert", path, [FRAME], [SCORES], threads=1)
    with pytest.raises(EngineError, match=r"input 'input' must be uint8 of shape \(1, 128, 128, 3\), got int8"):
        engine.run([np.zeros(FRAME.shape, np.int8)])
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.run([np.zeros(FRAME.shape, np.uint8)])
    with pytest.raises(EngineError, match=r"output 'x' must be uint8 of shape \(1, 7\), the file has uint8"):
        engines.load("litert", path, [FRAME], [TensorSpec("x", (1, 7), "uint8", SCORES.quant)])
    with pytest.raises(EngineError, match=r"must have 2 output\(s\), the file has 1"):
        engines.load("litert", path, [FRAME], [SCORES, SCORES])


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ai-edge-litert's Delegate.__del__
@pytest.mark.skipif(Path("/dev/apex_0").exists(), reason="an Edge TPU is plugged in")
def test_a_model_for_the_edge_tpu_needs_its_library(coral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "EDGE_TPU_LIBRARY", "libedgetpu-that-does-not-exist.so.1")
    path = coral / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    with pytest.raises(MissingEngineError, match=r"compiled for the Coral Edge TPU.*libedgetpu1-std"):
        engines.load("litert", path, [FRAME], [SCORES])


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs edgecnn[coral]")
    (tmp_path / "a.tflite").write_bytes(b"no model at all")
    with pytest.raises(BundleError, match=r"a.tflite: it is no TFLite file"):
        engines.load("litert", tmp_path / "a.tflite", [FRAME], [SCORES])
    with pytest.raises(EngineError, match=r"none.tflite: cannot be read: No such file"):
        engines.load("litert", tmp_path / "none.tflite", [FRAME], [SCORES])


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingEngineError, match=r"pip install 'edgecnn\[coral\]'"):
        engines.load("litert", tmp_path / "a.tflite", [FRAME], [SCORES])


def test_the_numpy_2_trap_of_tflite_runtime_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpreter(**_: object) -> object:
        raise ImportError("numpy.core.multiarray failed to import")

    old = ModuleType("tflite_runtime.interpreter")
    old.__dict__["Interpreter"] = interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", old)
    monkeypatch.setattr("edgecnn.runtime.engines._tflite_file.check", lambda *arguments: None)
    (tmp_path / "a.tflite").write_bytes(b"TFL3")
    with pytest.raises(MissingEngineError, match=r"cannot work with numpy .*pip install 'numpy<2'"):
        engines.load("litert", tmp_path / "a.tflite", [FRAME], [SCORES])
