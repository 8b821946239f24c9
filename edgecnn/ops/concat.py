"""Concat: tensors of one grid joined along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = None


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """The axis, counted from the front."""
    return {"axis": node.axis("axis")}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Join the integers."""
    return np.concatenate([operand.values for operand in inputs], axis=node.integer("axis"))


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Concat of integers."""
    writer.move(node, "Concat", [writer.integers(name) for name in node.inputs], axis=node.integer("axis"))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write CONCATENATION along the axis as memory has it."""
    order = writer.order(node.inputs, len(writer.graph.spec(node.output).shape))
    inputs = [writer.read(name, order) for name in node.inputs]
    axis = order.index(node.integer("axis"))
    writer.write(node, "CONCATENATION", inputs, order, axis=axis, fused_activation_function="NONE")
