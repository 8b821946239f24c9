"""Gemm: a fully connected layer; x (...,K), int8 weight (N,K), int32 bias (N,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import multiplier, requantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 3
WEIGHT_AXIS = 0


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """No attributes."""
    return {}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Multiply exactly, add the bias, requantise."""
    x, weight, bias = inputs
    total = x.offset().astype(np.float64) @ weight.values.astype(np.float64).T + bias.values
    return requantise(total, multiplier(x.grid, weight.grid, output.grid), output.grid.zero_point)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Gemm between DequantizeLinear and QuantizeLinear; a rank-3 input is a MatMul and an Add."""
    x, weight, bias = (writer.real(name) for name in node.inputs)
    if len(writer.graph.spec(node.inputs[0]).shape) == 2:
        value = writer.emit("Gemm", [x, weight, bias], transB=1)
    else:
        product = writer.emit("MatMul", [x, writer.emit("Transpose", [weight], perm=(1, 0))])
        value = writer.emit("Add", [product, bias])
    writer.quantise(node, value)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write a 1x1 CONV_2D, which keeps one scale per output; the weight follows the layout of the columns."""
    x, columns = writer.rows(node.inputs[0])
    weight, bias = (writer.graph.constants[name] for name in node.inputs[1:])
    kernel = writer.parameter(node.inputs[1], weight[:, columns][:, None, None, :], 0)
    memory = (*writer.shape(x)[:3], len(weight))
    steps: dict[str, Attribute] = dict.fromkeys(_UNIT_STEPS, 1)
    writer.write(
        node,
        "CONV_2D",
        [x, kernel, writer.parameter(node.inputs[2], bias, 0)],
        range(len(writer.graph.spec(node.output).shape)),
        memory,
        padding="VALID",
        fused_activation_function="NONE",
        **steps,
    )


_UNIT_STEPS = ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")
