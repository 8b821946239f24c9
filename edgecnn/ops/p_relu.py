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
    """Write MUL and ADD, which are exact; PRELU is not, and has no XNNPACK kernel."""
    spec, slope = writer.graph.spec(node.inputs[1]), writer.graph.constants[node.inputs[1]]
    rank = len(writer.graph.spec(node.output).shape)
    order = writer.order(node.inputs[:1], rank)
    in_memory = slope.reshape((1,) * (rank - slope.ndim) + slope.shape).transpose(order)
    writer.slopes(node, in_memory, spec.grid)
