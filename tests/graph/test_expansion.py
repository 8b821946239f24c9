"""Models of a few kilobytes that would become millions of nodes or gigabytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecnn.errors import ModelError
from edgecnn.graph import import_onnx
from tests.fuzz.processes import peak_memory_of

FLOAT = TensorProto.FLOAT
IMPORT = "from edgecnn.graph import import_onnx; import_onnx(sys.argv[1])"


def saved(path: Path, *nodes, functions=(), rank=4, **constants) -> Path:
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes), "g", [value("x", FLOAT, [1, 3, 8, 8])], [value("y", FLOAT, list("abcd")[:rank])], initializers
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9), path)
    return path


def function(name: str, *called: str):
    names = ["a", *(f"t{index}" for index in range(len(called)))]
    nodes = [
        helper.make_node(op, [names[index]], [names[index + 1]], domain="f" if op.startswith("F") else "")
        for index, op in enumerate(called)
    ]
    return helper.make_function(
        "f", name, ["a"], [names[-1]], nodes, [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    )


def test_functions_that_double_and_double_are_refused(tmp_path: Path) -> None:
    functions = [function(f"F{index}", f"F{index + 1}", f"F{index + 1}") for index in range(30)]
    functions.append(function("F30", "Relu"))
    path = saved(tmp_path / "a.onnx", helper.make_node("F0", ["x"], ["y"], domain="f"), functions=functions)
    with pytest.raises(ModelError, match=r"inlined: 131072 nodes are more than the 65536 that a graph may have"):
        import_onnx(path)


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    functions = [function("F0", "F1"), function("F1", "F0")]
    path = saved(tmp_path / "a.onnx", helper.make_node("F0", ["x"], ["y"], domain="f"), functions=functions)
    with pytest.raises(ModelError, match="the functions F0, F1 call themselves"):
        import_onnx(path)


def test_functions_of_honest_models_are_inlined(tmp_path: Path) -> None:
    functions = [function("F0", "F1", "F1"), function("F1", "Relu", "Sigmoid")]
    path = saved(tmp_path / "a.onnx", helper.make_node("F0", ["x"], ["y"], domain="f"), functions=functions)
    assert [node.op_type for node in import_onnx(path).graph] == ["Relu", "Sigmoid", "Relu", "Sigmoid"]


BIG = 50_000
BOMBS = {
    "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["s"], ["c"])], {"s": [1, 1, BIG, BIG]}),
    "Expand": ([helper.make_node("Expand", ["v", "s"], ["c"])], {"v": np.ones((1, 1), "f4"), "s": [BIG, BIG]}),
    "Tile": ([helper.make_node("Tile", ["v", "s"], ["c"])], {"v": np.ones((1, 1), "f4"), "s": [BIG, BIG]}),
    "Range": (
        [helper.make_node("Range", ["v", "s", "w"], ["c"])],
        {"v": np.float32(0), "s": np.float32(4e9), "w": np.float32(1)},
    ),
    "MatMul": (
        [helper.make_node("MatMul", ["v", "w"], ["c"])],
        {"v": np.ones((BIG, 1), "f4"), "w": np.ones((1, BIG), "f4")},
    ),
    "Pad": ([helper.make_node("Pad", ["v", "s"], ["c"])], {"v": np.ones((1, 1), "f4"), "s": [BIG, BIG, 0, 0]}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_that_would_be_gigabytes_are_not_computed(tmp_path: Path, name: str) -> None:
    nodes, constants = BOMBS[name]
    end = [helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0), helper.make_node("Add", ["x", "m"], ["y"])]
    path = saved(tmp_path / "a.onnx", *nodes, *end, **constants)
    with pytest.raises(
        ModelError, match=rf"{name} '.*': \d+ bytes are more than the 268435456 that a computed constant"
    ):
        import_onnx(path)
    assert peak_memory_of(IMPORT, str(path)) < 500 << 20


@pytest.mark.parametrize("op", ["Expand", "Tile"])
def test_activations_that_no_device_holds_are_refused(tmp_path: Path, op: str) -> None:
    path = saved(
        tmp_path / "a.onnx",
        helper.make_node(op, ["x", "s"], ["y"]),
        rank=4 if op == "Tile" else 5,
        s=[1, 1, 30000, 30000] if op == "Tile" else [30000, 300, 3, 8, 8],
    )
    with pytest.raises(ModelError, match=r"value 'y': \d+ elements are more than the 268435456 that a tensor may have"):
        import_onnx(path)
