"""PRelu: x, or ``slope * x`` below zero, with one int8 slope a channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import quantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 2


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """No attributes."""
    return {}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Compute in float32 and quantise."""
    real, slope = inputs[0].real(), inputs[1].real()
    return quantise(np.where(real >= 0, real, real * slope), output.grid, output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> PRelu -> QuantizeLinear."""
    writer.quantise(node, writer.emit("PRelu", [writer.real(name) for name in node.inputs]))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write PRELU; a slope per channel is 1-D, as the Edge TPU wants it."""
    rank = len(writer.graph.spec(node.output).shape)
    order = writer.order(node.inputs[:1], rank)
    x = writer.read(node.inputs[0], order)
    slope = writer.graph.constants[node.inputs[1]]
    if slope.size in (1, writer.shape(x)[-1]) and (slope.size == 1 or order[-1] == 1):
        alpha = writer.parameter(node.inputs[1], np.broadcast_to(slope.reshape(-1), writer.shape(x)[-1:]), 0)
    else:
        alpha = writer.read(node.inputs[1], order)
    writer.write(node, "PRELU", [x, alpha], order)
