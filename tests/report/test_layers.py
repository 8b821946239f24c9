from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgecnn.graph import import_onnx
from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.report.imported import read_model
from edgecnn.report.layers import integer_layers, layer_table, peak_memory
from edgecnn.report.network import Network, Step, output_size
from edgecnn.tensor import QuantParams, TensorSpec
from tests.report.networks import convnet, network, resnet18, simple_cnn


def integer_graph() -> IntegerGraph:
    grid, scales = QuantParams.per_tensor(0.5, 10), np.full(4, 0.1, np.float32)
    specs = (
        TensorSpec("frame", (1, 8, 6, 3), "uint8", QuantParams.per_tensor(1 / 255)),
        TensorSpec("planes", (1, 3, 8, 6), "uint8", QuantParams.per_tensor(1 / 255)),
        TensorSpec("weight", (4, 3, 3, 3), "int8", QuantParams.per_channel(scales, 0)),
        TensorSpec("bias", (4,), "int32", QuantParams.per_channel(scales, 0)),
        TensorSpec("maps", (1, 4, 4, 3), "uint8", grid),
        TensorSpec("classes", (1, 4, 3), "int64"),
    )
    constants = {"weight": np.zeros((4, 3, 3, 3), np.int8), "bias": np.zeros(4, np.int32)}
    conv = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1}
    nodes = (
        IntegerNode("to_nchw", "Transpose", ("frame",), "planes", {"perm": (0, 3, 1, 2)}),
        IntegerNode("conv", "Conv", ("planes", "weight", "bias"), "maps", conv),
        IntegerNode("best", "ArgMax", ("maps",), "classes", {"axis": 1, "keepdims": 0}),
    )
    return IntegerGraph("tiny", ("frame",), ("classes",), nodes, {spec.name: spec for spec in specs}, constants)


def test_facts_of_an_integer_graph() -> None:
    table = integer_layers(integer_graph())

    assert [layer.op for layer in table.layers] == ["Transpose", "Conv", "ArgMax"]
    conv, best = table.layers[1:]
    assert (conv.input_shapes, conv.shape, conv.parameters, conv.macs) == (((1, 3, 8, 6),), (1, 4, 4, 3), 112, 48 * 27)
    assert (conv.range, conv.receptive_field, conv.bytes) == ((-5.0, 122.5), (3, 3), 48)
    assert (best.grid, best.range, best.bytes) == (None, None, 12 * 8)
    assert (table.parameters, table.macs) == (112, 48 * 27)
    # Frame and planes together are more than planes and maps, or maps and eight bytes for each of twelve indices.
    assert (table.peak_bytes, table.peak_layer) == (288, "to_nchw")


def test_a_row_of_the_report() -> None:
    rows = integer_layers(integer_graph()).rows()

    assert rows[1] == {
        "name": "conv",
        "op": "Conv",
        "output": "maps",
        "shape": [1, 4, 4, 3],
        "parameters": 112,
        "macs": 1296,
        "scale": 0.5,
        "zero_point": 10,
        "low": -5.0,
        "high": 122.5,
        "receptive_field": [3, 3],
    }
    assert rows[2]["scale"] is None
    assert rows[2]["low"] is None


def test_the_tutorials_network_has_the_shapes_it_says() -> None:
    table = layer_table(network(simple_cnn(), 1, 28, 28))

    assert [layer.shape for layer in table.layers if layer.op == "MaxPool"] == [(1, 8, 14, 14), (1, 16, 7, 7)]
    assert [layer.receptive_field for layer in table.layers if layer.op == "Conv"] == [(3, 3), (8, 8)]
    assert table.layers[-1].receptive_field == (10, 10)
    assert table.parameters == (9 + 1) * 8 + (72 + 1) * 16


def test_the_tutorials_classifier() -> None:
    table = layer_table(network(convnet(), 1, 28, 28))

    assert table.parameters == 320 + 64 + 18_496 + 128 + 73_856 + 256 + 33_024 + 2_570
    assert table.macs == 784 * 9 * 32 + 196 * 288 * 64 + 49 * 576 * 128 + 128 * 256 + 2560
    assert [layer.receptive_field for layer in table.layers if layer.op == "Conv"] == [(3, 3), (8, 8), (18, 18)]
    # The mean over 7 x 7 places that are 4 pixels apart adds 24.
    assert table.layers[-1].receptive_field == (42, 42)


def test_resnet18_has_the_published_numbers() -> None:
    table = layer_table(network(resnet18(), 3, 224, 224))

    assert table.parameters == 11_689_512
    assert table.macs == 1_814_073_344
    # By hand: 7, 11 behind the pool, + 4 x 8; strides double the steps: + 8 + 3 x 16, + 16 + 3 x 32, + 32 + 3 x 64.
    last = next(layer for layer in reversed(table.layers) if layer.op == "Conv")
    assert last.receptive_field == (435, 435)


def test_peak_memory_counts_a_skip_connection_until_it_is_read() -> None:
    shapes = {"x": (1, 10), "a": (1, 50), "b": (1, 20), "c": (1, 50)}
    steps = (
        Step("first", "Relu", ("x",), ("a",)),
        Step("second", "Relu", ("a",), ("b",)),
        Step("third", "Add", ("b", "a"), ("c",)),
    )

    early = (*steps[:2], Step("third", "Relu", ("b",), ("c",)))

    assert peak_memory(Network("skip", ("x",), ("c",), steps, shapes)) == (120, "third")
    # An output of the network stays alive to the end.
    assert peak_memory(Network("early", ("x",), ("a", "c"), early, shapes)) == (120, "third")


def test_shared_weights_count_once() -> None:
    shapes = {"x": (1, 4), "a": (1, 4), "b": (1, 4)}
    steps = tuple(Step(f"fc_{out}", "Gemm", (given,), (out,), {"w": (4, 4)}) for given, out in (("x", "a"), ("a", "b")))
    table = layer_table(Network("tied", ("x",), ("b",), steps, shapes))

    assert [layer.parameters for layer in table.layers] == [16, 0]
    assert [layer.macs for layer in table.layers] == [16, 16]


def convolution(path: str, op: str, x: tuple[int, ...], w: tuple[int, ...], **attributes: object) -> Network:
    weight = helper.make_tensor("w", TensorProto.FLOAT, w, np.zeros(w, np.float32).ravel())
    node = helper.make_node(op, ["x", "w"], ["y"], name="layer", **attributes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    graph = helper.make_graph([node], "one", [given], [result], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with open(path, "wb") as stream:
        stream.write(model.SerializeToString())
    return read_model(import_onnx(path))


@given(
    size=st.integers(5, 20),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 3),
    dilation=st.integers(1, 2),
)
def test_output_size_is_what_shape_inference_says(
    tmp_path_factory: pytest.TempPathFactory, size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    reach = (kernel - 1) * dilation + 1
    if size + 2 * pad < reach:
        with pytest.raises(ValueError, match="does not fit"):
            output_size(size, kernel, stride, 2 * pad, dilation)
        return
    path = tmp_path_factory.mktemp("conv") / "conv.onnx"
    found = convolution(
        str(path),
        "Conv",
        (1, 2, size, size),
        (3, 2, kernel, kernel),
        strides=[stride] * 2,
        pads=[pad] * 4,
        dilations=[dilation] * 2,
    )

    expected = output_size(size, kernel, stride, 2 * pad, dilation)
    assert found.shapes["y"] == (1, 3, expected, expected)
    assert layer_table(found).macs == expected**2 * 3 * 2 * kernel**2


def test_macs_and_field_of_grouped_and_transposed_convolutions(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("conv") / "conv.onnx")
    depthwise = layer_table(convolution(path, "Conv", (1, 8, 6, 6), (8, 1, 3, 3), group=8, pads=[1] * 4))
    transposed = layer_table(
        convolution(path, "ConvTranspose", (1, 8, 6, 6), (8, 4, 4, 4), strides=[2, 2], pads=[1] * 4)
    )

    assert (depthwise.macs, depthwise.layers[0].receptive_field) == (36 * 8 * 9, (3, 3))
    assert (transposed.macs, transposed.layers[0].shape) == (36 * 8 * 4 * 16, (1, 4, 12, 12))
    assert transposed.layers[0].receptive_field == (2, 2)


def test_auto_pad_is_read_as_padding(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("conv") / "conv.onnx")
    found = convolution(path, "Conv", (1, 1, 8, 8), (1, 1, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")

    window = found.steps[0].window
    assert window is not None
    assert window.pads == (0, 0, 1, 1)
