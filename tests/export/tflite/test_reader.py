"""Grids read back from the bytes of the file."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.errors import ModelError
from edgecnn.export.tflite import read_grids, write
from edgecnn.tensor import QuantParams


def test_every_grid_comes_back(mobile_net, tmp_path):
    graph = mobile_net.graph(mobile_net.nodes[-1].output)
    write(graph, tmp_path / "model.tflite")
    grids = read_grids(tmp_path / "model.tflite")
    relabelled = {node.output for node in graph.nodes if node.op in {"Reshape", "Transpose"}}
    expected = {name: spec.quant for name, spec in graph.tensors.items() if name not in relabelled}
    assert {name: grids[name] for name in expected} == expected


def test_constants_of_elementwise_operators_are_unsigned_again(build, tmp_path):
    graph = build(0)
    x = graph.image(3, 4, 4)
    grid = QuantParams.per_tensor(0.5, 128)
    c = graph.constant(np.arange(3, dtype=np.uint8).reshape(3, 1, 1), grid)
    y = graph.node("Mul", [x, c], (1, 3, 4, 4), QuantParams.per_tensor(1.0, 5))
    write(graph.graph(y), tmp_path / "model.tflite")
    grids = read_grids(tmp_path / "model.tflite")
    assert (grids[c], grids[y]) == (grid, QuantParams.per_tensor(1.0, 5))


def test_channels_of_a_transposed_convolution_are_axis_1(build, tmp_path):
    graph = build(1)
    x = graph.image(2, 4, 4)
    weight, bias = graph.parameters(x, (2, 3, 2, 2), 1, 3)
    attributes = {"strides": (2, 2), "pads": (0, 0, 0, 0), "output_padding": (0, 0), "dilations": (1, 1), "group": 1}
    y = graph.node("ConvTranspose", [x, weight, bias], (1, 3, 8, 8), graph.any_grid(), **attributes)
    write(graph.graph(y), tmp_path / "model.tflite")
    assert read_grids(tmp_path / "model.tflite")[weight] == graph.grid(weight)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match="bytes 4 to 8 must be 'TFL3'"):
        read_grids(path)


@pytest.mark.data
def test_a_file_of_googles_reads_the_same_way(data_dir):
    grids = read_grids(data_dir / "models" / "coral" / "tf2_mobilenet_v2_1.0_224_ptq.tflite")
    # The converter's own uint8 input and int8 copy of it, and its uint8 output: one grid each.
    assert grids["input"] == grids["tfl.quantize"]
    assert grids["input"].zero_point == 127
    assert grids["Identity"] == grids["Identity1"] == QuantParams.per_tensor(1 / 256, 0)
    assert any(len(quant.scale) == 1280 and quant.axis == 0 for quant in grids.values())
