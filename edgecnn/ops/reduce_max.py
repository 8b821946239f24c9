"""ReduceMax: largest value over axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.ops import CHANNELS_LAST, Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Axes counted from the front, and keepdims."""
    return node.reduction()


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Take the largest integer."""
    largest: Array = inputs[0].values.max(axis=node.ints("axes"), keepdims=bool(node.integer("keepdims")))
    return largest


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a ReduceMax of integers."""
    axes, keepdims = writer.constant(np.asarray(node.ints("axes"), np.int64)), node.integer("keepdims")
    writer.move(node, "ReduceMax", [writer.integers(node.inputs[0]), axes], keepdims=keepdims)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write MAX_POOL_2D over whole maps, which accelerators have, else REDUCE_MAX."""
    shape = writer.graph.spec(node.inputs[0]).shape
    if len(shape) != 4 or node.ints("axes") != (2, 3):
        writer.reduce(node, "REDUCE_MAX")
        return
    x = writer.read(node.inputs[0], CHANNELS_LAST)
    order = CHANNELS_LAST if node.integer("keepdims") else (0, 1)
    window: dict[str, Attribute] = {"filter_height": shape[2], "filter_width": shape[3], "stride_h": 1, "stride_w": 1}
    writer.write(node, "MAX_POOL_2D", [x], order, (shape[0], 1, 1, shape[1]), padding="VALID", **window)
