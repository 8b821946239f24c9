"""Transpose: the same integers with their axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """The permutation; ONNX reverses the axes by default."""
    return {"perm": node.ints("perm", tuple(reversed(range(len(node.shape(0))))))}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Permute the axes."""
    return inputs[0].values.transpose(node.ints("perm"))


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Transpose of integers."""
    writer.move(node, "Transpose", [writer.integers(node.inputs[0])], perm=node.ints("perm"))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write a relabelling of axes: TRANSPOSE only where a reader needs another layout."""
    writer.transpose(node)
