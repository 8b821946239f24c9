"""Reshape: the same integers in another shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """The static shape of the output."""
    return {"shape": node.output_shape}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Reshape the integers."""
    return inputs[0].values.reshape(node.ints("shape"))


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Reshape of integers."""
    shape = writer.constant(np.asarray(node.ints("shape"), np.int64))
    writer.move(node, "Reshape", [writer.integers(node.inputs[0]), shape])


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write a relabelling of axes: RESHAPE only where a reader needs another shape."""
    writer.reshape(node)
