"""What stands in the artefacts themselves: the same grids in all three, and integers from the frame on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph
from tests.end_to_end import grids

READERS = {"onnxruntime": grids.from_onnx, "openvino": grids.from_openvino, "litert": grids.from_tflite}


def path_of(bundle: Path, engine: str) -> Path:
    return bundle / artefact.FORMATS[engine][1]


@pytest.fixture(scope="module")
def canonical(bundle: Path) -> grids.Grids:
    graph = IntegerGraph.load(bundle / "graph.npz")
    names = [*graph.inputs, *(node.output for node in graph.nodes)]
    return {name: (graph.spec(name).grid.scale[0], graph.spec(name).grid.zero_point) for name in names}


def test_all_activations_have_one_grid_in_all_files(bundle: Path, canonical: grids.Grids) -> None:
    found = {engine: read(path_of(bundle, engine)) for engine, read in READERS.items()}
    common = set.intersection(*(set(item) for item in found.values()))
    # The frame and its transpose are on one grid, recorded for either; OpenVINO's output is a range (below).
    assert common >= set(canonical) - {"frame", "frame/nchw", "output"}
    assert found["onnxruntime"]["output"] == found["litert"]["output"] == canonical["output"]
    for name in sorted(common):
        assert len({item[name] for item in found.values()}) == 1, name
    for engine, item in found.items():
        named = {name: grid for name, grid in item.items() if name in canonical}
        assert named == {name: canonical[name] for name in named}, engine


def test_openvino_rounds_to_the_same_grids(bundle: Path, canonical: grids.Grids) -> None:
    ranges = grids.ranges_from_openvino(bundle / "model.xml")
    assert set(ranges) == set(canonical) - {"frame", "frame/nchw"}
    for name, (low, high) in ranges.items():
        scale, zero_point = canonical[name]
        assert (high - low) / 255 == pytest.approx(scale, rel=1e-4), name
        assert -low / scale == pytest.approx(zero_point, abs=0.01), name


def test_the_frame_has_one_grid_in_all_files(bundle: Path, canonical: grids.Grids) -> None:
    assert canonical["frame"] == canonical["frame/nchw"]
    assert canonical["frame"][0] == pytest.approx(1 / 255, rel=1e-6)
    for engine, read in READERS.items():
        item = read(path_of(bundle, engine))
        assert item.get("frame", item.get("frame/nchw")) == canonical["frame"], engine


@pytest.mark.parametrize("engine", READERS)
def test_edgecnns_own_reader_sees_the_same(bundle: Path, engine: str) -> None:
    own = artefact.read_grids(engine, path_of(bundle, engine))
    for name, grid in READERS[engine](path_of(bundle, engine)).items():
        assert (own[name].scale[0], own[name].zero_point) == grid, name


def test_onnx_enters_the_first_convolution_with_the_frames_integers(bundle: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(bundle / "model.onnx").graph
    assert [(item.name, item.type.tensor_type.elem_type) for item in graph.input] == [("frame", onnx.TensorProto.UINT8)]
    value, kinds = "frame", []
    while kinds[-1:] != ["Conv"]:
        (reader,) = [node for node in graph.node if value in node.input]
        kinds.append(reader.op_type)
        value = reader.output[0]
    assert kinds == ["Transpose", "DequantizeLinear", "Conv"]


def test_onnx_runtime_runs_no_float_before_the_first_convolution(bundle: Path, tmp_path: Path) -> None:
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    ort.InferenceSession(str(bundle / "model.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert set(kinds[: kinds.index("QLinearConv")]) <= {"Transpose"}
    assert kinds.count("QLinearConv") == 6
    assert "Conv" not in kinds


def test_openvino_runs_no_float_before_the_first_convolution(bundle: Path) -> None:
    openvino = pytest.importorskip("openvino")
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(bundle / "model.xml", "CPU", config)
    steps = []
    for node in model.get_runtime_model().get_ordered_ops():
        kind, precision = (node.get_rt_info()[key].astype(str) for key in ("layerType", "outputPrecisions"))
        if kind != "Const" and "Multiply" not in node.get_friendly_name():  # constants, made once
            steps.append((kind, precision))
    kinds = [kind for kind, _ in steps]
    assert kinds.count("Convolution") == 6
    assert {precision for _, precision in steps[: kinds.index("Convolution") + 1]} == {"u8"}


def test_tflite_has_no_float_at_all(bundle: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(bundle / "model.tflite"))
    kinds = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    assert kinds == {np.uint8, np.int8, np.int32}
    (entry,) = interpreter.get_input_details()
    assert (entry["name"], entry["dtype"], entry["shape"].tolist()) == ("frame", np.uint8, [1, 32, 32, 3])
