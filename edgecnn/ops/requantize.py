"""Requantize: the same real values on another grid; saturation makes it a clamp as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import requantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """No attributes."""
    return {}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Scale by ``s_in / s_out`` and round once."""
    x = inputs[0]
    scale = np.asarray(x.grid.scales / output.grid.scales, np.float32).reshape(())
    return requantise(x.offset(), scale, output.grid.zero_point)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> LeakyRelu of slope 1 -> QuantizeLinear.

    ONNX Runtime makes one of two neighbouring pairs of Q and DQ, which leaves a rounding out. The LeakyRelu keeps them
    apart, and makes a table of the two.

    Source: onnxruntime, core/optimizer/double_qdq_pairs_remover.cc.
    """
    writer.quantise(node, writer.emit("LeakyRelu", [writer.real(node.inputs[0])], alpha=1.0))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write a MUL by 1, which rounds exactly; QUANTIZE from int8 to int8 does not."""
    writer.rescale(node)
