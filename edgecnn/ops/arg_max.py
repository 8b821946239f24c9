"""ArgMax: index (int64) of the first largest value along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "none"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Axis counted from the front; the first of equal values wins in every runtime."""
    return {"axis": node.axis("axis", 0), "keepdims": node.integer("keepdims", 1)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Return the index of the first largest integer."""
    index: Array = np.argmax(inputs[0].values, axis=node.integer("axis"))
    return index.astype(np.int64).reshape(output.shape)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write an ArgMax of integers."""
    axis, keepdims = node.integer("axis"), node.integer("keepdims")
    writer.move(node, "ArgMax", [writer.integers(node.inputs[0])], axis=axis, keepdims=keepdims)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write ARG_MAX with int64 indices."""
    axis, rank = node.integer("axis"), len(writer.graph.spec(node.inputs[0]).shape)
    order = writer.order(node.inputs, rank)
    x = writer.read(node.inputs[0], order)
    where = writer.constant(np.asarray(order.index(axis), np.int32))
    rest = [item for item in order if item != axis]
    memory = [writer.graph.spec(node.inputs[0]).shape[item] for item in rest]
    left = order if node.integer("keepdims") else [item - (item > axis) for item in rest]
    writer.write(node, "ARG_MAX", [x, where], left, memory, output_type="INT64")
