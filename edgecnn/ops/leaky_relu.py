"""LeakyRelu: x, or ``alpha * x`` below zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import quantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """The slope below zero."""
    return {"alpha": node.number("alpha", 0.01)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Compute in float32 and quantise."""
    real = inputs[0].real()
    return quantise(np.where(real >= 0, real, real * np.float32(node.number("alpha"))), output.grid, output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> LeakyRelu -> QuantizeLinear."""
    writer.quantise(node, writer.emit("LeakyRelu", [writer.real(node.inputs[0])], alpha=node.number("alpha")))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write two MUL and an ADD, which are exact; LEAKY_RELU is not, nor is it on the Edge TPU's list."""
    alpha = node.number("alpha")
    slope = np.full(1, 127 * np.sign(alpha), np.int8)
    writer.slopes(node, slope, QuantParams.per_tensor(abs(alpha) / 127 or 1.0))
