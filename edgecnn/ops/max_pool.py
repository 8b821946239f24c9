"""MaxPool: largest value in each window; padding never wins."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.windows import pad_map, windows

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Spell out every default of the ONNX operator."""
    return node.pooling()


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Pad with the smallest integer and take the largest of each window."""
    padded = pad_map(inputs[0].values, node.ints("pads"), 0)
    largest: Array = windows(padded, node.ints("kernel"), node.ints("strides")).max(axis=(4, 5))
    return largest


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a MaxPool of integers."""
    writer.move(
        node,
        "MaxPool",
        [writer.integers(node.inputs[0])],
        kernel_shape=node.ints("kernel"),
        strides=node.ints("strides"),
        pads=node.ints("pads"),
    )


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write MAX_POOL_2D."""
    writer.pool(node, "MAX_POOL_2D")
