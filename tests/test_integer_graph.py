"""The canonical graph: its consistency, its file, and what is done to damaged files."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.arrays import write_npz
from edgecnn.errors import BundleError
from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.tensor import QuantParams, TensorSpec

GRID = QuantParams.per_tensor(0.1, 3)
SCALES = [0.1, 0.2]


def small_graph() -> IntegerGraph:
    """x (1,2,4,4) -> Conv 1x1 -> maps -> MaxPool -> y."""
    weight = np.asarray([[3, -4], [5, 127]], np.int8).reshape(2, 2, 1, 1)
    bias = np.asarray([2**30, -7], np.int32)
    nodes = (
        IntegerNode(
            "conv",
            "Conv",
            ("x", "weight", "bias"),
            "maps",
            {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1},
            ("layer1.conv", "layer1.relu"),
        ),
        IntegerNode("pool", "MaxPool", ("maps",), "y", {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}),
    )
    specs = (
        TensorSpec("x", (1, 2, 4, 4), "uint8", GRID),
        TensorSpec("weight", weight.shape, "int8", QuantParams.per_channel(SCALES, 0)),
        TensorSpec("bias", bias.shape, "int32", QuantParams.per_channel(np.asarray(SCALES) * 0.1, 0)),
        TensorSpec("maps", (1, 2, 4, 4), "uint8", GRID),
        TensorSpec("y", (1, 2, 2, 2), "uint8", GRID),
    )
    tensors = {spec.name: spec for spec in specs}
    return IntegerGraph("small", ("x",), ("y",), nodes, tensors, {"weight": weight, "bias": bias})


def test_a_constant_without_axes_comes_back_without_axes(tmp_path: Path) -> None:
    factor = TensorSpec("factor", (), "uint8", GRID)
    node = IntegerNode("scale", "Mul", ("x", "factor"), "y")
    tensors = {
        spec.name: spec for spec in (small_graph().spec("x"), factor, TensorSpec("y", (1, 2, 4, 4), "uint8", GRID))
    }
    graph = IntegerGraph("scalar", ("x",), ("y",), (node,), tensors, {"factor": np.asarray(13, np.uint8)})
    graph.save(tmp_path / "graph.npz")
    loaded = IntegerGraph.load(tmp_path / "graph.npz")
    assert (loaded.constants["factor"].shape, loaded.constants["factor"].item()) == ((), 13)
    assert loaded.tensors == graph.tensors


def test_constants_are_written_row_by_row(tmp_path: Path) -> None:
    graph = small_graph()
    turned = {name: np.asfortranarray(array) for name, array in graph.constants.items()}
    graph.save(tmp_path / "a.npz")
    replace(graph, constants=turned).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_activations_end_with_their_last_reader() -> None:
    graph = small_graph()
    again = IntegerNode("again", "MaxPool", ("maps",), "z", graph.nodes[1].attributes)
    tensors = {**graph.tensors, "z": replace(graph.spec("y"), name="z")}
    graph = replace(graph, nodes=(*graph.nodes, again), tensors=tensors)
    assert [(node.name, ending) for node, ending in graph.lifetimes()] == [
        ("conv", ["x"]),
        ("pool", []),
        ("again", ["maps"]),
    ]
    assert [ending for _, ending in graph.lifetimes(keep=["maps"])] == [["x"], [], []]


def saved(path: Path) -> Path:
    small_graph().save(path)
    return path


def document_of(path: Path) -> dict:
    with np.load(path) as archive:
        return json.loads(archive["graph"].tobytes())


def rewrite(path: Path, change) -> Path:
    """Change the JSON document inside a saved graph."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    document = json.loads(arrays["graph"].tobytes())
    change(document)
    arrays["graph"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    write_npz(path, arrays)
    return path


def test_the_file_keeps_everything(tmp_path):
    graph = small_graph()
    loaded = IntegerGraph.load(saved(tmp_path / "graph.npz"))
    assert loaded.nodes == graph.nodes
    assert loaded.tensors == graph.tensors
    assert (loaded.name, loaded.inputs, loaded.outputs) == ("small", ("x",), ("y",))
    assert loaded.constants.keys() == graph.constants.keys()
    for name, array in graph.constants.items():
        assert loaded.constants[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.constants[name], array)


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    first = saved(tmp_path / "a.npz").read_bytes()
    graph = small_graph()
    shuffled = replace(
        graph,
        tensors=dict(reversed(graph.tensors.items())),
        constants={name: np.asfortranarray(array) for name, array in reversed(graph.constants.items())},
    )
    shuffled.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == first
    IntegerGraph.load(tmp_path / "a.npz").save(tmp_path / "c.npz")
    assert (tmp_path / "c.npz").read_bytes() == first


def test_another_integer_gives_other_bytes(tmp_path):
    graph = small_graph()
    other = dict(graph.constants) | {"bias": graph.constants["bias"] + 1}
    replace(graph, constants=other).save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() != saved(tmp_path / "a.npz").read_bytes()


def test_every_kind_of_attribute_survives(tmp_path):
    attributes = {"text": "linear", "number": 0.1, "integer": 3, "ints": (1, 2), "floats": (0.5, 1.5), "empty": ()}
    graph = small_graph()
    node = replace(graph.nodes[1], attributes=attributes)
    replace(graph, nodes=(graph.nodes[0], node)).save(tmp_path / "graph.npz")
    assert IntegerGraph.load(tmp_path / "graph.npz").nodes[1].attributes == attributes


def test_names_that_are_no_file_names_survive(tmp_path):
    graph = small_graph()
    odd = "../../layer/1:weight\\é"
    node = replace(graph.nodes[0], inputs=("x", odd, "bias"))
    tensors = {odd if name == "weight" else name: spec for name, spec in graph.tensors.items()}
    tensors[odd] = replace(tensors[odd], name=odd)
    constants = {odd: graph.constants["weight"], "bias": graph.constants["bias"]}
    replace(graph, nodes=(node, graph.nodes[1]), tensors=tensors, constants=constants).save(tmp_path / "graph.npz")
    assert IntegerGraph.load(tmp_path / "graph.npz").nodes[0].inputs[1] == odd
    assert all("/" not in name for name in zipfile.ZipFile(tmp_path / "graph.npz").namelist())


def test_a_missing_file_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match=r"none\.npz: not a readable \.npz: No such file"):
        IntegerGraph.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"not a zip at all", b"\x93NUMPY\x01\x00", pickle.dumps([1, 2])]
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "graph.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"graph.npz: not a readable \.npz"):
        IntegerGraph.load(path)


def test_an_array_file_is_refused(tmp_path):
    path = tmp_path / "graph.npz"
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(BundleError, match=r"graph.npz: not a readable \.npz"):
        IntegerGraph.load(path)


def test_an_archive_of_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "graph.npz", weights=np.zeros(3))
    with pytest.raises(BundleError, match="not a readable integer graph"):
        IntegerGraph.load(tmp_path / "graph.npz")


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


def test_a_pickled_array_is_refused_and_not_run(tmp_path):
    path = saved(tmp_path / "graph.npz")
    stream = io.BytesIO()
    np.save(stream, np.asarray([Bomb()], object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("c9.npy", stream.getvalue())
    with np.load(path) as archive:
        document = json.loads(archive["graph"].tobytes())
        members = {name: archive[name] for name in ("c0", "c1")}
    document["constants"]["weight"] = "c9"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {**members, "graph": np.frombuffer(json.dumps(document).encode(), np.uint8)}.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
        archive.writestr("c9.npy", stream.getvalue())
    with pytest.raises(BundleError, match="Object arrays cannot be loaded"):
        IntegerGraph.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format=2),
        lambda document: document.pop("format"),
        lambda document: document.pop("nodes"),
        lambda document: document.update(nodes=[3]),
        lambda document: document.update(nodes={}),
        lambda document: document["nodes"][0].update(attributes=[1]),
        lambda document: document["nodes"][0].update(inputs=["x", "lost", "bias"]),
        lambda document: document["nodes"][0].pop("op"),
        lambda document: document["constants"].update(weight="c7"),
        lambda document: document.update(constants=["c0"]),
        lambda document: document.update(tensors=None),
        lambda document: document["tensors"][0].update(shape=[0]),
        lambda document: document["tensors"][0].update(quant={"scale": [-1.0], "zero_point": 0, "axis": None}),
        lambda document: document["tensors"][0].update(quant=7),
        lambda document: document.update(outputs=["nothing"]),
    ],
)
def test_a_changed_document_is_refused(tmp_path, change):
    path = rewrite(saved(tmp_path / "graph.npz"), change)
    with pytest.raises(BundleError, match="not a readable integer graph"):
        IntegerGraph.load(path)


def test_the_format_is_named_when_it_is_another(tmp_path):
    path = rewrite(saved(tmp_path / "graph.npz"), lambda document: document.update(format=99))
    with pytest.raises(BundleError, match="format 99, this version reads 1"):
        IntegerGraph.load(path)


def test_json_that_is_no_object_is_refused(tmp_path):
    for text in (b"[]", b"3", b"null", b"{", b"\xff\xfe", b'"' + b"a" * 9 + b'"'):
        write_npz(tmp_path / "graph.npz", {"graph": np.frombuffer(text, np.uint8)})
        with pytest.raises(BundleError):
            IntegerGraph.load(tmp_path / "graph.npz")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_flipped_or_missing_bytes_never_go_unnoticed(tmp_path, data):
    path = saved(tmp_path / "graph.npz")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1), "at")] ^= data.draw(st.integers(1, 255), "flip")
    path.write_bytes(content)
    try:
        loaded = IntegerGraph.load(path)
    except BundleError:
        return
    # Bytes of the zip that carry nothing (time stamps, flags) may change; the graph may not.
    graph = small_graph()
    assert (loaded.nodes, loaded.tensors) == (graph.nodes, graph.tensors)
    assert all(np.array_equal(loaded.constants[name], array) for name, array in graph.constants.items())


def test_a_constant_must_fit_its_spec():
    graph = small_graph()
    for wrong in (np.zeros(3, np.int32), np.zeros(2, np.int8)):
        with pytest.raises(ValueError, match="constant 'bias' is"):
            replace(graph, constants=dict(graph.constants) | {"bias": wrong})
    with pytest.raises(ValueError, match="constant 'orphan' is"):
        replace(graph, constants=dict(graph.constants) | {"orphan": np.zeros(1, np.int8)})


def test_nodes_must_be_in_order_of_execution():
    graph = small_graph()
    with pytest.raises(ValueError, match=r"MaxPool 'pool' reads unknown \['maps'\]"):
        replace(graph, nodes=graph.nodes[::-1])


def test_an_output_without_a_spec_is_refused():
    graph = small_graph()
    tensors = {name: spec for name, spec in graph.tensors.items() if name != "maps"}
    with pytest.raises(ValueError, match="writes unknown 'maps'"):
        replace(graph, tensors=tensors)


def test_an_input_without_a_spec_is_refused():
    graph = small_graph()
    tensors = {name: spec for name, spec in graph.tensors.items() if name != "x"}
    with pytest.raises(ValueError, match="'x'"):
        replace(graph, tensors=tensors)


def test_a_tensor_has_one_writer():
    graph = small_graph()
    again = replace(graph.nodes[0], name="again")
    with pytest.raises(ValueError, match="'maps'"):
        replace(graph, nodes=(graph.nodes[0], again, graph.nodes[1]))


def test_a_graph_output_that_nobody_writes_is_refused():
    with pytest.raises(ValueError, match=r"no node writes the graph output\(s\) \['z'\]"):
        replace(small_graph(), outputs=("y", "z"))


def test_activations_come_in_order_of_execution():
    assert [spec.name for spec in small_graph().activations()] == ["x", "maps", "y"]


def test_the_graph_of_one_node():
    graph = small_graph()
    pool = graph.single(graph.nodes[1])
    assert (pool.inputs, pool.outputs, dict(pool.constants)) == (("maps",), ("y",), {})
    conv = graph.single(graph.nodes[0])
    assert (conv.inputs, conv.outputs, set(conv.constants)) == (("x",), ("maps",), {"weight", "bias"})
    assert set(conv.tensors) == {"x", "weight", "bias", "maps"}


def test_the_graph_of_a_node_that_reads_a_tensor_twice_has_one_input():
    graph = small_graph()
    node = IntegerNode("twice", "Add", ("y", "y"), "sum")
    tensors = dict(graph.tensors) | {"sum": TensorSpec("sum", (1, 2, 2, 2), "uint8", GRID)}
    doubled = replace(graph, nodes=(*graph.nodes, node), tensors=tensors, outputs=("sum",))
    assert doubled.single(node).inputs == ("y",)


def test_attributes_are_read_by_their_kind():
    node = IntegerNode("n", "Conv", ("x",), "y", {"pads": (1, 2), "group": 3, "alpha": 0.5, "mode": "linear"})
    assert node.ints("pads") == (1, 2)
    assert node.integer("group") == 3
    assert (node.number("alpha"), node.number("group")) == (0.5, 3.0)
    assert node.text("mode") == "linear"


@pytest.mark.parametrize(
    ("read", "name", "kind"),
    [
        ("ints", "group", "tuple"),
        ("integer", "alpha", "integer"),
        ("number", "mode", "number"),
        ("text", "pads", "string"),
    ],
)
def test_an_attribute_of_another_kind_is_refused(read, name, kind):
    node = IntegerNode("n", "Conv", ("x",), "y", {"pads": (1, 2), "group": 3, "alpha": 0.5, "mode": "linear"})
    with pytest.raises(TypeError, match=rf"Conv 'n': attribute '{name}' must be a.* {kind}"):
        getattr(node, read)(name)
