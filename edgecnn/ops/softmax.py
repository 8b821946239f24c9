"""Softmax along an axis, always on the grid 0 .. 255/256."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import quantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "fixed"
OPERANDS = 1
FIXED = QuantParams.per_tensor(1 / 256, 0)


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """The axis, counted from the front."""
    return {"axis": node.axis("axis", -1)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Compute in float64 with the largest input taken off, and quantise."""
    real = inputs[0].real().astype(np.float64)
    axis = node.integer("axis")
    power = np.exp(real - real.max(axis=axis, keepdims=True))
    return quantise(power / power.sum(axis=axis, keepdims=True), output.grid, output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> Softmax -> QuantizeLinear."""
    writer.quantise(node, writer.emit("Softmax", [writer.real(node.inputs[0])], axis=node.integer("axis")))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write SOFTMAX, which works on the innermost axis of memory."""
    axis = node.integer("axis")
    order = writer.order(node.inputs, len(writer.graph.spec(node.output).shape))
    innermost = (*(item for item in order if item != axis), axis)
    writer.write(node, "SOFTMAX", [writer.read(node.inputs[0], innermost)], innermost, beta=1.0)
