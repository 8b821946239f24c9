"""ReduceMean: mean over axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import requantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Axes counted from the front, and keepdims."""
    return node.reduction()


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Sum exactly, then scale by ``s_in / (s_out * count)`` and round once."""
    x, axes = inputs[0], node.ints("axes")
    total = x.offset().sum(axis=axes, keepdims=bool(node.integer("keepdims")))
    count = np.prod([x.spec.shape[axis] for axis in axes])
    scale = (x.grid.scales / (output.grid.scales * np.float32(count))).astype(np.float32).reshape(())
    return requantise(total, scale, output.grid.zero_point)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write GlobalAveragePool for whole maps (runtimes have an integer kernel for it), else ReduceMean."""
    x = writer.real(node.inputs[0])
    keepdims, axes = node.integer("keepdims"), node.ints("axes")
    if axes == (2, 3) and len(writer.graph.spec(node.inputs[0]).shape) == 4 and keepdims:
        value = writer.emit("GlobalAveragePool", [x])
    else:
        value = writer.emit("ReduceMean", [x, writer.constant(np.asarray(axes, np.int64))], keepdims=keepdims)
    writer.quantise(node, value)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write MEAN."""
    writer.reduce(node, "MEAN")
