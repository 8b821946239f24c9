"""The ONNX artefact: valid, deterministic, grids as in the graph, integer kernels in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from edgecnn.errors import ModelError
from edgecnn.export.onnx import IR_VERSION, OPSET, read_grids, to_model, write
from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.pipeline import quantise
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams
from tests.ops.single import convolution, uint8
from tests.quant.networks import FAST, SmallMobileNet, in_normal_form, pictures, settled


@pytest.fixture(scope="module")
def graph() -> IntegerGraph:
    torch.manual_seed(0)
    return quantise(in_normal_form(settled(SmallMobileNet())), pictures(4), FAST).graph


@pytest.fixture(scope="module")
def model(graph) -> onnx.ModelProto:
    return to_model(graph, {"producer": "edgecnn test", "labels": "good\nbad"})


def optimised(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the graph that ONNX Runtime executes."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def test_the_model_is_valid_with_shapes_inferred(model):
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION


def test_inputs_and_outputs_are_uint8_of_the_graphs_shapes(model, graph):
    for values, names in ((model.graph.input, graph.inputs), (model.graph.output, graph.outputs)):
        assert [value.name for value in values] == list(names)
        for value in values:
            tensor = value.type.tensor_type
            assert tensor.elem_type == onnx.TensorProto.UINT8
            assert tuple(item.dim_value for item in tensor.shape.dim) == graph.spec(value.name).shape


def test_metadata_reaches_the_file(model):
    assert {item.key: item.value for item in model.metadata_props} == {
        "producer": "edgecnn test",
        "labels": "good\nbad",
    }
    assert model.producer_name == "edgecnn"


def test_another_opset_can_be_asked_for(graph):
    newer = to_model(graph, opset=21, ir_version=10)
    assert (newer.opset_import[0].version, newer.ir_version) == (21, 10)


def test_the_same_graph_gives_the_same_bytes(graph, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        write(graph, tmp_path / name, {"z": "1", "a": "2"})
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_grids_read_back_from_the_file_are_those_of_the_graph(graph, tmp_path):
    write(graph, tmp_path / "model.onnx")
    found = read_grids(tmp_path / "model.onnx")
    shared = set(found) & set(graph.tensors)
    assert {name: found[name] for name in shared} == {name: graph.spec(name).grid for name in shared}
    arithmetic = {node.output for node in graph.nodes if node.op in ("Conv", "Add", "Gemm", "ReduceMean")}
    assert arithmetic | set(graph.constants) <= shared


def with_changed_scale(graph: IntegerGraph, path: Path, both: bool) -> str:
    """Write a file in which one tensor's scale is 0.75 where it is written, and where it is read if ``both``."""
    model = to_model(graph)
    writer = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(0.75, np.float32), "changed"))
    writer.input[1] = "changed"
    for node in model.graph.node:
        if both and node.op_type == "DequantizeLinear" and node.input[0] == writer.output[0]:
            node.input[1] = "changed"
    onnx.save(model, path)
    return writer.output[0]


def test_a_grid_changed_in_the_file_is_seen(graph, tmp_path):
    name = with_changed_scale(graph, tmp_path / "model.onnx", both=True)
    assert read_grids(tmp_path / "model.onnx")[name].scale == (0.75,)


def test_a_tensor_written_and_read_on_two_grids_is_an_error(graph, tmp_path):
    name = with_changed_scale(graph, tmp_path / "model.onnx", both=False)
    with pytest.raises(ModelError, match=f"model.onnx: tensor '{name}' is written on"):
        read_grids(tmp_path / "model.onnx")


def test_constants_of_equal_value_are_stored_once(model):
    stored = [(item.data_type, tuple(item.dims), item.raw_data) for item in model.graph.initializer]
    small = [key for key, item in zip(stored, model.graph.initializer, strict=True) if item.name.startswith("const")]
    assert len(small) == len(set(small))


def test_weights_are_int8_and_biases_int32(model, graph):
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for name, array in graph.constants.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_no_float_operation_stands_before_the_first_convolution(model):
    readers = [node for node in model.graph.node if "frame" in node.input]
    assert [node.op_type for node in readers] == ["Transpose"]


def test_onnxruntime_runs_every_layer_in_integers(model, tmp_path):
    ops = Counter(node.op_type for node in optimised(model, tmp_path / "optimised.onnx").graph.node)
    wanted = Counter(node.op_type for node in model.graph.node)
    assert ops["QLinearConv"] == wanted["Conv"]
    assert ops["QLinearAdd"] == wanted["Add"]
    assert ops["QGemm"] == wanted["Gemm"] == 1
    assert not {"Conv", "Add", "Gemm"} & set(ops)
    assert ops["DequantizeLinear"] == ops["QuantizeLinear"] == wanted["ReduceMean"] == 1


def test_every_node_equals_the_reference_from_equal_inputs(graph):
    values = {"frame": pictures(1, seed=3)[0][None]}
    values |= run_graph(graph, [values["frame"]])
    for node in graph.nodes:
        alone = graph.single(node)
        session = ort.InferenceSession(to_model(alone).SerializeToString(), providers=["CPUExecutionProvider"])
        (got,) = session.run(None, {name: values[name] for name in alone.inputs})
        np.testing.assert_array_equal(got, values[node.output], err_msg=node.name)


def test_a_per_channel_axis_survives(tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(-127, 128, (2, 3, 2, 2)).astype(np.int8), np.zeros(3, np.int32)
    steps = {"strides": (2, 2), "pads": (0,) * 4, "output_padding": (0, 0), "dilations": (1, 1), "group": 1}
    x, y = uint8("x", (1, 2, 4, 4)), uint8("y", (1, 3, 8, 8))
    write(convolution("ConvTranspose", x, weight, bias, [0.1, 0.2, 0.3], y, **steps), tmp_path / "model.onnx")
    assert read_grids(tmp_path / "model.onnx")["weight"] == QuantParams.per_channel([0.1, 0.2, 0.3], 1)
