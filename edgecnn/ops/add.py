"""Add: elementwise sum with numpy broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import saturate
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 2


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """No attributes."""
    return {}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Bring both operands to the output grid in float32, add, round once."""
    a, b = (operand.offset() * (operand.grid.scales / output.grid.scales).reshape(()) for operand in inputs)
    return saturate(np.rint(a + b) + np.float32(output.grid.zero_point), output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> Add -> QuantizeLinear."""
    writer.quantise(node, writer.emit("Add", [writer.real(name) for name in node.inputs]))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write ADD."""
    writer.binary(node, "ADD")
