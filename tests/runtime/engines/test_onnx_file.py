from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import BundleError
from edgecnn.runtime.engines import _onnx_file

onnx = pytest.importorskip("onnx", reason="needs edgecnn[export]")
helper = pytest.importorskip("onnx.helper")


def tensor(external: bool, name: str = "w"):
    made = onnx.numpy_helper.from_array(np.zeros((2, 2), np.float32), name)
    if external:
        onnx.external_data_helper.set_external_data(made, "weights.data")
        made.ClearField("raw_data")
        made.data_location = onnx.TensorProto.EXTERNAL
    return made


def graph(*nodes, initializers=()):
    value = functools.partial(helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=[2, 2])
    return helper.make_graph(list(nodes), "g", [value("x")], [value("y")], list(initializers))


def as_initializer(external: bool):
    return helper.make_model(graph(helper.make_node("Add", ["x", "w"], ["y"]), initializers=[tensor(external)]))


def as_attribute(external: bool):
    constant = helper.make_node("Constant", [], ["w"], value=tensor(external))
    return helper.make_model(graph(constant, helper.make_node("Add", ["x", "w"], ["y"])))


def in_a_branch(external: bool):
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "b", [], [], [tensor(external)])
    return helper.make_model(graph(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)))


def in_a_function(external: bool):
    constant = helper.make_node("Constant", [], ["b"], value=tensor(external))
    function = helper.make_function("f", "F", ["a"], ["b"], [constant], [helper.make_opsetid("", 18)])
    return helper.make_model(graph(helper.make_node("F", ["x"], ["y"], domain="f")), functions=[function])


def as_sparse(external: bool):
    model = as_initializer(False)
    sparse = onnx.SparseTensorProto(values=tensor(external, "s"), indices=tensor(False, "i"))
    model.graph.sparse_initializer.append(sparse)
    return model


@pytest.mark.parametrize("make", [as_initializer, as_attribute, in_a_branch, in_a_function, as_sparse])
def test_weights_in_another_file_are_found_wherever_they_hang(make: Callable[[bool], object]) -> None:
    _onnx_file.check(make(False).SerializeToString(), "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: it keeps weights in another file"):
        _onnx_file.check(make(True).SerializeToString(), "model.onnx")


def test_what_is_no_onnx_file_is_refused() -> None:
    good = as_initializer(False).SerializeToString()
    for content in (b"\xff" * 20, b"\x3a\x7fx", b"\x0b", good[:-3], b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"):
        with pytest.raises(BundleError, match=r"m: it is no ONNX file, or damaged"):
            _onnx_file.check(content, "m")


def test_graphs_without_end_are_refused() -> None:
    """Message in message, as deep as a file of some kilobytes can nest them."""
    content = b""
    for _ in range(200):
        for key in (0x32, 0x2A, 0x0A):  # attribute.g, node.attribute, graph.node
            content = bytes([key]) + varint(len(content)) + content
    with pytest.raises(BundleError, match="nested more than 16 deep"):
        _onnx_file.check(b"\x3a" + varint(len(content)) + content, "m")


def varint(value: int) -> bytes:
    low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return low + varint(value >> 7) if value > 0x7F else low


def test_the_engine_opens_no_such_file(tmp_path: Path) -> None:
    from edgecnn.runtime.engines import onnxruntime
    from edgecnn.tensor import TensorSpec

    (tmp_path / "model.onnx").write_bytes(as_initializer(True).SerializeToString())
    (tmp_path / "weights.data").write_bytes(bytes(16))
    specs = [TensorSpec("x", (2, 2), "float32")]
    with pytest.raises(BundleError, match="keeps weights in another file"):
        onnxruntime.load(tmp_path / "model.onnx", specs, [TensorSpec("y", (2, 2), "float32")])
