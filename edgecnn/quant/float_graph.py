"""A plain numpy view of a float graph in normal form, the quantiser's input."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from edgecnn.errors import ModelError
from edgecnn.integer_graph import Array, Attribute
from edgecnn.ops import FloatNode
from edgecnn.tensor import QuantParams


@dataclass(frozen=True)
class FloatGraph:
    """Nodes, constants and shapes of a float graph whose input is a uint8 frame.

    Attributes:
        name: The model's name.
        frame: Name of the uint8 input.
        frame_grid: What the frame's integers mean.
        outputs: Names of the outputs.
        nodes: In order of execution, without the DequantizeLinear of the frame.
        constants: float32 (or int64) arrays by value name.
        shapes: Static shape of every value.
    """

    name: str
    frame: str
    frame_grid: QuantParams
    outputs: tuple[str, ...]
    nodes: tuple[FloatNode, ...]
    constants: dict[str, Array]
    shapes: dict[str, tuple[int, ...]]

    def readers(self) -> Counter[str]:
        """Count the readers of every value; being a graph output counts as one."""
        counts = Counter(self.outputs)
        for node in self.nodes:
            counts.update(name for name in node.inputs if name)
        return counts


def read(model: ir.Model) -> FloatGraph:
    """Read ``model``: normal form, one uint8 input that only a DequantizeLinear reads.

    Raises:
        ModelError: If the input is not a frame, or a shape is not static.
    """
    graph = model.graph
    if len(graph.inputs) != 1:
        raise ModelError(f"expected one input, the frame; the model has {[value.name for value in graph.inputs]}")
    constants = _constants(graph)
    entry = next((node for node in graph if node.op_type == "DequantizeLinear"), None)
    if entry is None or entry.inputs[0] is not graph.inputs[0]:
        raise ModelError("expected the model's input to be a uint8 frame read by a DequantizeLinear")
    shapes = {_name(value): _shape(value) for value in _values(graph)}
    rename = {_name(entry.outputs[0]): _name(graph.inputs[0])}
    body = [node for node in graph if node is not entry and node.op_type != "Constant"]
    scale, zero_point = (constants[_name(value)] for value in entry.inputs[1:3])
    return FloatGraph(
        name=graph.name or "model",
        frame=_name(graph.inputs[0]),
        frame_grid=QuantParams.per_tensor(float(scale.item()), int(zero_point.item())),
        outputs=tuple(_name(value) for value in graph.outputs),
        nodes=tuple(_node(node, constants, shapes, rename) for node in body),
        constants=constants,
        shapes=shapes,
    )


def _constants(graph: ir.Graph) -> dict[str, Array]:
    values = [*graph.initializers.values(), *(node.outputs[0] for node in graph if node.op_type == "Constant")]
    return {_name(value): value.const_value.numpy() for value in values if value.const_value is not None}


def _values(graph: ir.Graph) -> list[ir.Value]:
    outputs = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *outputs]


def _node(
    node: ir.Node, constants: dict[str, Array], shapes: dict[str, tuple[int, ...]], rename: dict[str, str]
) -> FloatNode:
    inputs = tuple("" if value is None else rename.get(_name(value), _name(value)) for value in node.inputs)
    output = _name(node.outputs[0])
    given = {name: _attribute(attribute.value) for name, attribute in node.attributes.items()}
    own = {name: constants[name] for name in inputs if name in constants}
    known = {name: shapes[name] for name in (*inputs, output) if name}
    return FloatNode(node.name or output, node.op_type, inputs, output, given, own, known)


def _attribute(value: object) -> Attribute:
    if isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(value, (int, float, str)):
        return value
    raise ModelError(f"an attribute of type {type(value).__name__} cannot be quantised")


def _name(value: ir.Value | None) -> str:
    if value is None or value.name is None:
        raise ModelError("a value of the graph has no name")
    return value.name


def _shape(value: ir.Value) -> tuple[int, ...]:
    if value.shape is None or not value.shape.is_static():
        if value.const_value is not None:
            return tuple(int(size) for size in value.const_value.numpy().shape)
        raise ModelError(f"value '{value.name}' has no static shape: {value.shape}")
    return tuple(int(size) for size in value.shape.numpy())
