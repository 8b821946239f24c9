"""How large a model becomes, told before it is: a few kilobytes of ONNX can ask for a billion nodes or for gigabytes.

Functions that call each other twice, twenty levels deep, are a million nodes once they are inlined; a ConstantOfShape
of one line is ten gigabytes once it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir

from edgecnn import limits
from edgecnn.errors import ModelError

_Key = tuple[str, str]


def check_size(proto: onnx.ModelProto) -> None:
    """Refuse a model that has too many nodes when its functions are inlined.

    Raises:
        ModelError: If it has, or if functions call themselves.
    """
    functions = {(function.domain, function.name): function for function in proto.functions}
    sizes: dict[_Key, int] = {}
    for key in _callees_first(functions):
        sizes[key] = _size(functions[key].node, sizes)
        limits.NODES.check(sizes[key], f"the function '{key[1]}', inlined", ModelError)
    limits.NODES.check(_size(proto.graph.node, sizes), "the model, its functions inlined", ModelError)


class Folded:
    """Watches what is computed of constants: the answer to `onnxscript`'s question whether to compute a node.

    Args:
        always: Operators that are computed whatever the folder's own rules say.
    """

    def __init__(self, *always: str) -> None:
        self._always = always
        self._total = 0

    def __call__(self, node: ir.Node) -> bool | None:
        """Say whether to fold ``node``: True, or None for the folder's own rules.

        Raises:
            ModelError: If its outputs, or all that were computed so far, are larger than allowed.
        """
        size = sum(_bytes(value) for value in node.outputs)
        limits.CONSTANT.check(size, f"{node.op_type} '{node.name}'", ModelError)
        self._total += size
        limits.CONSTANTS.check(self._total, f"{node.op_type} '{node.name}'", ModelError)
        return True if node.op_type in self._always else None


def check_values(graph: ir.Graph) -> None:
    """Refuse inputs and activations that no device holds.

    Raises:
        ModelError: If one has too many elements.
    """
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        limits.TENSOR.check(_elements(value), f"value '{value.name}'", ModelError)


def _callees_first(functions: dict[_Key, onnx.FunctionProto]) -> Iterator[_Key]:
    """Yield the functions in an order in which each stands behind those that it calls."""
    calls = {
        key: {called for node in _all(function.node) if (called := (node.domain, node.op_type)) in functions}
        for key, function in functions.items()
    }
    while calls:
        ready = [key for key, called in calls.items() if not called & calls.keys()]
        if not ready:
            raise ModelError(f"the functions {', '.join(sorted(name for _, name in calls))} call themselves.")
        for key in ready:
            del calls[key]
            yield key


def _size(nodes: Iterable[onnx.NodeProto], sizes: dict[_Key, int]) -> int:
    return sum(sizes.get((node.domain, node.op_type), 1) for node in _all(nodes))


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of the graphs inside them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all(graph.node)


def _elements(value: ir.Value) -> int:
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else 0


def _bytes(value: ir.Value) -> int:
    return _elements(value) * math.ceil(1 if value.dtype is None else value.dtype.itemsize)
