"""The few moves on an `onnx_ir` graph that every pass is made of.

All of them keep shapes and dtypes complete, so that no pass needs shape inference, and carry along which nodes of the
user's model a new node stands for (`sources`).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.generic]
Attribute = int | float | str | Sequence[int] | Sequence[float]

SOURCE_KEY = "edgecnn.source"


class NodePass(ir.passes.InPlacePass):
    """A pass that looks at every node of the main graph once, in order.

    Subclasses implement `rewrite`. Nodes that a rewrite removes are not visited, nodes it adds neither.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visit all nodes; the result says whether any was rewritten."""
        modified = False
        for node in list(model.graph):
            if node.graph is model.graph:
                modified |= self.rewrite(node)
        return ir.passes.PassResult(model, modified)

    @abc.abstractmethod
    def rewrite(self, node: ir.Node) -> bool:
        """Rewrite ``node`` where the pass's rules ask for it, and return whether anything changed."""


def graph_of(node: ir.Node) -> ir.Graph:
    """Return the graph that ``node`` stands in."""
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise ValueError(f"{node.op_type} '{node.name}' stands in no graph")
    return graph


def operand(node: ir.Node, index: int) -> ir.Value:
    """Return an input that the operator cannot do without."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.op_type} '{node.name}' lacks input {index}")
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def array(value: ir.Value | None) -> Array | None:
    """Return the content of a constant, None for anything that is computed or fed, or absent."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def integers(node: ir.Node, index: int) -> tuple[int, ...] | None:
    """Return an input that is a constant of integers as a flat tuple, None where it is absent or not constant."""
    content = array(optional(node, index))
    return None if content is None else tuple(int(item) for item in content.reshape(-1))


def is_absent_or_constant(node: ir.Node, index: int) -> bool:
    """Say whether an optional input needs nothing at run time."""
    value = optional(node, index)
    return value is None or array(value) is not None


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Return the static shape of ``value``."""
    if value.shape is None:
        raise ValueError(f"value '{value.name}' has no shape")
    return tuple(int(size) for size in value.shape.numpy())


def sole_reader(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads ``value`` once, None if there are others or the graph puts it out."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def sources(node: ir.Node) -> tuple[str, ...]:
    """Return the names of the nodes of the user's model that ``node`` stands for."""
    text = node.metadata_props.get(SOURCE_KEY)
    return tuple(text.split("\n")) if text else (node.name or "",)


def absorb(node: ir.Node, other: ir.Node) -> None:
    """Note that ``node`` now does the work of ``other`` as well."""
    node.metadata_props[SOURCE_KEY] = "\n".join(dict.fromkeys((*sources(node), *sources(other))))


def constant(graph: ir.Graph, name: str, content: npt.ArrayLike) -> ir.Value:
    """Add an initialiser; a number is added to ``name`` where it is taken. Nothing is ever changed in place."""
    data = np.ascontiguousarray(content)
    data = data.reshape(np.shape(content))
    unique, count = name, 1
    while unique in graph.initializers:
        count += 1
        unique = f"{name}_{count}"
    tensor = ir.tensor(data, name=unique)
    value = ir.Value(name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(data.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def replace_constant(node: ir.Node, index: int, content: npt.ArrayLike, suffix: str) -> None:
    """Give ``node`` a constant of its own: other nodes may read the old one, which goes where none does.

    Args:
        node: The node.
        index: Which of its inputs to replace.
        content: What it reads from now on.
        suffix: What to add to the old constant's name.
    """
    old = operand(node, index)
    node.replace_input_with(index, constant(graph_of(node), f"{old.name}/{suffix}", content))
    if not old.uses() and old.name is not None:
        graph_of(node).initializers.pop(old.name, None)


def insert(
    at: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    shape: Sequence[int],
    attributes: Mapping[str, Attribute] | None = None,
    suffix: str | None = None,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """Insert a node before ``at`` that stands for the same user's node, and return its output.

    Args:
        at: The node that the new one serves; it gives the name, the sources and the place.
        op: Operator type.
        inputs: Its inputs.
        shape: Shape of its output.
        attributes: Its attributes.
        suffix: What to add to the name of ``at``, by default the operator type.
        dtype: dtype of its output, by default that of the first output of ``at``.
    """
    suffix = suffix or op
    kind = dtype or at.outputs[0].dtype or ir.DataType.FLOAT
    output = ir.Value(name=f"{at.outputs[0].name}/{suffix}", type=ir.TensorType(kind), shape=ir.Shape(shape))
    node = ir.node(op, list(inputs), dict(attributes or {}), outputs=[output], name=f"{at.name}/{suffix}")
    node.metadata_props[SOURCE_KEY] = "\n".join(sources(at))
    graph_of(at).insert_before(at, node)
    return output


def replace(node: ir.Node, value: ir.Value) -> None:
    """Let every reader of the node's first output, the graph's outputs included, take ``value``; remove the node.

    A graph output keeps its name. Where ``value`` cannot take that name, being the graph's input, a constant or
    another output, a Reshape to the same shape stands between: it costs nothing on integers.
    """
    old = node.outputs[0]
    if old.is_graph_output():
        if _is_taken(value):
            value = _copy(node, value)
        name, old.name = old.name, f"{old.name}/replaced"
        value.name = name
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph_of(node).remove(node, safe=True)


def is_needed_copy(node: ir.Node) -> bool:
    """Say whether ``node`` writes a graph output from a value that cannot bear the output's name itself."""
    value = node.inputs[0]
    return value is not None and node.outputs[0].is_graph_output() and _is_taken(value)


def _is_taken(value: ir.Value) -> bool:
    return value.is_graph_input() or value.is_graph_output() or value.is_initializer()


def _copy(node: ir.Node, value: ir.Value) -> ir.Value:
    shape = shape_of(value)
    target = constant(graph_of(node), f"{node.name}/shape", np.asarray(shape, np.int64))
    return insert(node, "Reshape", [value, target], shape, suffix="Copy")


def substitute(
    node: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Attribute] | None = None,
    shape: Sequence[int] | None = None,
) -> ir.Value:
    """Put a new node in the place of ``node``, with its name and, by default, its output's shape."""
    output = insert(node, op, inputs, shape_of(node.outputs[0]) if shape is None else shape, attributes)
    name = node.name
    replace(node, output)
    producer = output.producer()
    if producer is not None:
        producer.name = name
    return output


def reshape(at: ir.Node, value: ir.Value, shape: Sequence[int], suffix: str = "Reshape") -> ir.Value:
    """Insert a Reshape of ``value`` to a static shape before ``at``."""
    target = constant(graph_of(at), f"{at.name}/{suffix}/shape", np.asarray(shape, np.int64))
    return insert(at, "Reshape", [value, target], shape, suffix=suffix, dtype=value.dtype)
