"""Sigmoid: ``1 / (1 + exp(-x))``, always on the grid 0 .. 255/256."""

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
    """No attributes."""
    return {}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Compute in float64 and quantise."""
    real = inputs[0].real().astype(np.float64)
    return quantise(1 / (1 + np.exp(-real)), output.grid, output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> Sigmoid -> QuantizeLinear."""
    writer.quantise(node, writer.emit("Sigmoid", [writer.real(node.inputs[0])]))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write LOGISTIC."""
    writer.unary(node, "LOGISTIC")
