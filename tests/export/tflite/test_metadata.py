"""TFLite's own metadata, read with a reader that knows only slot numbers, beside a file of Google's."""

from __future__ import annotations

import io
import zipfile

import flatbuffers.table
import pytest
from flatbuffers import encode, packer
from flatbuffers import number_types as types

from edgecnn.export.tflite import schema, to_bytes
from edgecnn.export.tflite.metadata import metadata_table


def root(data):
    return flatbuffers.table.Table(data, encode.Get(packer.uoffset, data, 0))


def text(table, slot):
    offset = table.Offset(4 + 2 * slot)
    return table.String(offset + table.Pos).decode() if offset else ""


def tables(table, slot):
    offset = table.Offset(4 + 2 * slot)
    start = table.Vector(offset)
    return [
        flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * index))
        for index in range(table.VectorLen(offset))
    ]


def metadata_of(data):
    model = schema.unpack(data, "test")
    entry = next(item for item in model.metadata if item.name == b"TFLITE_METADATA")
    return root(bytes(model.buffers[entry.buffer].data))


def test_names_and_labels(mobile_net, litert):
    graph = mobile_net.graph(mobile_net.nodes[-1].output)
    entries = {"model": "tile", "producer": "edgecnn 0.1", "labels": "good\nbad"}
    data = to_bytes(graph, entries)
    assert data == to_bytes(graph, entries)
    table = metadata_of(data)
    assert (text(table, 0), text(table, 4), text(table, 7)) == ("tile", "edgecnn 0.1", "1.0.0")
    (subgraph,) = tables(table, 3)
    assert [text(item, 0) for item in tables(subgraph, 2)] == ["x0"]
    (output,) = tables(subgraph, 3)
    assert text(output, 0) == graph.outputs[0]
    (labels,) = tables(output, 6)
    assert text(labels, 0) == "labels.txt"
    assert labels.Get(types.Int8Flags, labels.Offset(8) + labels.Pos) == 2
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("labels.txt") == b"good\nbad"
    arrays = mobile_net.arrays()
    assert (litert(data, arrays)[0] == litert(to_bytes(graph), arrays)[0]).all()


def test_without_labels_there_is_no_archive():
    (subgraph,) = tables(root(metadata_table({"model": "a"}, ["in"], ["out"])), 3)
    (output,) = tables(subgraph, 3)
    assert not output.Offset(4 + 2 * 6)


@pytest.mark.data
def test_the_slots_are_those_of_googles_file(data_dir):
    path = data_dir / "models" / "coral" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    table = metadata_of(path.read_bytes())
    assert text(table, 0)
    assert text(table, 7) == "1.0.0"
    (subgraph,) = tables(table, 3)
    assert len(tables(subgraph, 2)) == len(tables(subgraph, 3)) == 1
