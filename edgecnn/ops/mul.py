"""Mul: elementwise product with numpy broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.affine import multiplier, requantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 2


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """No attributes."""
    return {}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Multiply the integers exactly and requantise once."""
    a, b = inputs
    factor = multiplier(a.grid, b.grid, output.grid).reshape(())
    return requantise(a.offset() * b.offset(), factor, output.grid.zero_point)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> Mul -> QuantizeLinear."""
    writer.quantise(node, writer.emit("Mul", [writer.real(name) for name in node.inputs]))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write MUL."""
    writer.binary(node, "MUL")
