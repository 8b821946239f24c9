"""The plain view of a float graph that the quantiser reads."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn.errors import ModelError
from edgecnn.graph import import_torch
from edgecnn.quant.float_graph import read
from edgecnn.tensor import QuantParams
from tests.quant.networks import in_normal_form


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Hardtanh(-1, 2), nn.MaxPool2d(2))
    return read(in_normal_form(network, size=12))


def test_the_frame_and_its_grid(graph):
    assert graph.frame == "frame"
    assert graph.shapes["frame"] == (1, 12, 12, 3)
    assert graph.frame_grid == QuantParams.per_tensor(1 / 255, 0)


def test_nodes_in_order_without_the_dequantisation(graph):
    assert [node.op for node in graph.nodes] == ["Transpose", "Conv", "Clip", "MaxPool", "Transpose"]
    assert graph.nodes[0].inputs == ("frame",)


def test_attributes_constants_and_shapes_are_plain_numpy(graph):
    conv = graph.nodes[1]
    assert conv.ints("strides") == (2, 2)
    assert conv.shape(1) == (4, 3, 3, 3)
    assert set(conv.constants) == set(conv.inputs[1:])
    assert all(isinstance(array, np.ndarray) for array in conv.constants.values())
    assert graph.nodes[2].bounds() == (-1.0, 2.0)
    assert graph.shapes[graph.outputs[0]] == graph.nodes[-1].output_shape == (1, 3, 3, 4)


def test_readers_count_graph_outputs(graph):
    readers = graph.readers()
    assert readers[graph.outputs[0]] == 1
    assert readers["frame"] == 1


def test_a_float_input_is_refused():
    with pytest.raises(ModelError, match="expected the model's input to be a uint8 frame"):
        read(import_torch(nn.Conv2d(3, 4, 3), (1, 3, 8, 8)))


def test_two_inputs_are_refused():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[1,2] a, float[1,2] b) => (float[1,2] y) { y = Add(a, b) }'
    with pytest.raises(ModelError, match=r"expected one input, the frame; the model has \['a', 'b'\]"):
        read(ir.from_proto(onnx.parser.parse_model(text)))
