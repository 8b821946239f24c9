"""Whole graphs: layout, names, bytes, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.errors import ModelError, UnsupportedError
from edgecnn.export.tflite import schema, to_bytes, write
from edgecnn.export.tflite.writer import Writer
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams


def lowered(builder, *outputs):
    writer = Writer(builder.graph(*outputs))
    writer.lower()
    return writer


def operators(writer):
    return [item.op for item in writer.file.operators]


def test_a_mobile_net_needs_no_transpose(mobile_net, difference):
    last = mobile_net.nodes[-1].output
    writer = lowered(mobile_net, last)
    assert writer.tracker.moves == []
    assert operators(writer)[-4:] == ["MEAN", "CONV_2D", "RESHAPE", "QUANTIZE"]
    assert operators(writer).count("PAD") == 2  # stride 2 on even maps
    assert difference(mobile_net, last) <= 1


def test_activations_keep_their_names_and_grids(mobile_net):
    graph = mobile_net.graph(mobile_net.nodes[-1].output)
    tensors = lowered(mobile_net, *graph.outputs).file.tensors
    for node in graph.nodes[:-1]:
        if node.op not in {"Reshape", "Transpose"}:
            spec, tensor = graph.spec(node.output), tensors[node.output]
            assert tensor.quant == QuantParams(spec.grid.scale, spec.grid.zero_point - 128)


def test_inputs_and_outputs_are_uint8_under_their_own_names(mobile_net):
    last = mobile_net.nodes[-1].output
    model = schema.unpack(to_bytes(mobile_net.graph(last)), "test")
    graph = model.subgraphs[0]
    ends = [graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]]
    assert [item.name for item in ends] == [b"x0", last.encode()]
    assert [schema.dtype_name(item.type) for item in ends] == ["uint8", "uint8"]
    signature = model.signatureDefs[0]
    assert signature.signatureKey == b"serving_default"
    assert [item.name for item in (*signature.inputs, *signature.outputs)] == [b"x0", last.encode()]


def test_entering_and_leaving_are_exact(build, litert):
    graph = build(1)
    frame = graph.input((1, 16, 16, 1), QuantParams.per_tensor(1 / 255, 37))
    crop = graph.node(
        "Slice",
        [frame],
        (1, 16, 15, 1),
        graph.grid(frame),
        starts=(0, 0, 0, 0),
        ends=(1, 16, 15, 1),
        steps=(1, 1, 1, 1),
    )
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert (litert(to_bytes(graph.graph(crop)), [values])[0] == values[:, :, :15]).all()


def test_a_flattened_map_is_taken_up_by_the_weight(build, difference):
    graph = build(2)
    x = graph.conv(graph.image(3, 6, 5), 4, (3, 3))
    flat = graph.node("Reshape", [x], (1, 120), graph.grid(x), shape=(1, 120))
    y = graph.gemm(flat, 7)
    assert "TRANSPOSE" not in operators(lowered(graph, y))
    assert difference(graph, y) <= 1


def shuffled(graph, x, groups):
    batch, channels, height, width = graph.shape(x)
    split = (batch, groups, channels // groups, height, width)
    swapped = (batch, channels // groups, groups, height, width)
    y = graph.node("Reshape", [x], split, graph.grid(x), shape=split)
    y = graph.node("Transpose", [y], swapped, graph.grid(x), perm=(0, 2, 1, 3, 4))
    return graph.node("Reshape", [y], graph.shape(x), graph.grid(x), shape=graph.shape(x))


def test_a_channel_shuffle_before_a_convolution_is_free(build, difference):
    graph = build(3)
    y = graph.conv(shuffled(graph, graph.image(8, 6, 5), 2), 4, (1, 1))
    z = graph.as_frame(y)
    assert "TRANSPOSE" not in operators(lowered(graph, z))
    assert difference(graph, z) <= 1


def test_a_channel_shuffle_before_a_depthwise_convolution_is_one_transpose(build, difference):
    graph = build(4)
    y = graph.as_frame(graph.conv(shuffled(graph, graph.image(8, 6, 5), 2), 8, (3, 3), group=8))
    moves = lowered(graph, y).tracker.moves
    assert [(item.node, item.shape, item.perm) for item in moves] == [("node4", (30, 2, 4), (0, 2, 1))]
    assert difference(graph, y) <= 1


def test_sub_pixel_channels_are_regrouped_by_the_convolution(build, difference):
    graph = build(5)
    x = graph.conv(graph.image(3, 4, 5), 12, (3, 3))
    y = graph.node("DepthToSpace", [x], (1, 3, 8, 10), graph.grid(x), blocksize=2, mode="CRD")
    z = graph.as_frame(y)
    assert operators(lowered(graph, z)) == ["QUANTIZE", "CONV_2D", "DEPTH_TO_SPACE", "QUANTIZE"]
    assert difference(graph, z) <= 1


def test_a_detection_head_needs_no_transpose(build, difference):
    graph = build(6)
    x = graph.conv(graph.image(3, 6, 5), 4, (1, 1))
    y = graph.node("Reshape", [x], (1, 4, 30), graph.grid(x), shape=(1, 4, 30))
    z = graph.node("Transpose", [y], (1, 30, 4), graph.grid(x), perm=(0, 2, 1))
    assert operators(lowered(graph, z)) == ["QUANTIZE", "CONV_2D", "RESHAPE", "QUANTIZE"]
    assert difference(graph, z) <= 1


def test_a_layout_that_two_readers_want_is_made_once(build):
    graph = build(7)
    x = graph.input((1, 3, 6, 5))
    y = graph.node("Add", [graph.conv(x, 4, (1, 1)), graph.conv(x, 4, (1, 1))], (1, 4, 6, 5), graph.any_grid())
    assert operators(lowered(graph, graph.as_frame(y))).count("TRANSPOSE") == 1


def test_the_same_graph_gives_the_same_bytes(mobile_net):
    graph = mobile_net.graph(mobile_net.nodes[-1].output)
    assert to_bytes(graph, {"a": "b"}) == to_bytes(graph, {"a": "b"})


def test_constants_are_aligned_and_shared(mobile_net):
    data = np.frombuffer(to_bytes(mobile_net.graph(mobile_net.nodes[-1].output)), np.uint8)
    model = schema.fb.Model.GetRootAs(data, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    blobs = [buffer.DataAsNumpy() for buffer in buffers if not buffer.DataIsNone()]
    assert {(blob.ctypes.data - data.ctypes.data) % 16 for blob in blobs} == {0}
    assert len({blob.tobytes() for blob in blobs}) == len(blobs)


def test_metadata(mobile_net):
    model = schema.unpack(to_bytes(mobile_net.graph(mobile_net.nodes[-1].output), {"labels": "a\nb"}), "test")
    entries = {item.name: bytes(model.buffers[item.buffer].data) for item in model.metadata}
    assert entries[b"edgecnn"] == b'{"labels": "a\\nb"}'
    assert entries[b"min_runtime_version"] == b"1.14.0".ljust(16, b"\0")


def test_all_refusals_come_at_once_and_nothing_is_written(build, tmp_path):
    graph = build(8)
    x = graph.image(3, 6, 6)
    shape, grid = (1, 3, 9, 9), graph.grid(x)
    attributes = {"sizes": (9, 9), "mode": "nearest", "coordinates": "half_pixel", "rounding": "floor"}
    a = graph.node("Resize", [x], shape, grid, **attributes)
    b = graph.node("Resize", [x], shape, grid, **attributes)
    with pytest.raises(UnsupportedError) as caught:
        write(graph.graph(a, b), tmp_path / "model.tflite")
    assert [item.node for item in caught.value.refusals] == ["node1", "node2"]
    assert not list(tmp_path.iterdir())


def test_an_output_of_indices_keeps_its_name(build, litert):
    graph = build(9)
    x = graph.image(5, 3, 4)
    y = graph.node("ArgMax", [x], (1, 1, 3, 4), None, "int64", axis=1, keepdims=1)
    arrays = graph.arrays()
    expected = run_graph(graph.graph(y), arrays)[y]
    data = to_bytes(graph.graph(y))
    model = schema.unpack(data, "test")
    assert model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].name == y.encode()
    assert (litert(data, arrays)[0] == expected).all()


def test_a_batch_larger_than_one(build, difference):
    graph = build(10)
    x = graph.input((2, 5, 6, 3))
    y = graph.node("Transpose", [x], (2, 3, 5, 6), graph.grid(x), perm=(0, 3, 1, 2))
    y = graph.conv(y, 4, (3, 3))
    z = graph.node("ReduceMean", [y], (2, 4), graph.grid(y), axes=(2, 3), keepdims=0)
    assert difference(graph, graph.gemm(z, 3), z) <= 1


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"\x1c\0\0\0TFL3" + b"\xff" * 40])
def test_what_is_no_model_is_refused(data):
    with pytest.raises(ModelError, match="TFLite model"):
        schema.unpack(data, "a file")
