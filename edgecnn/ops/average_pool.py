"""AveragePool: mean of each window; padding is not counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import saturate
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.windows import pad_map, windows

GRID = "shared"
OPERANDS = 1
FLOAT, UINT8 = 1, 2  # onnx.TensorProto.DataType


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Spell out every default of the ONNX operator."""
    return node.pooling()


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Sum exactly, divide by the number of real pixels in the window, round once."""
    kernel, strides, pads = node.ints("kernel"), node.ints("strides"), node.ints("pads")
    x = inputs[0].offset()
    total = windows(pad_map(x, pads, 0), kernel, strides).sum(axis=(4, 5))
    counts = windows(pad_map(np.ones_like(x[:1, :1]), pads, 0), kernel, strides).sum(axis=(4, 5))
    mean = total.astype(np.float32) / counts.astype(np.float32)
    return saturate(np.rint(mean) + np.float32(output.grid.zero_point), output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write an AveragePool of the integers as floats, rounded by Round: exact, and faster than QLinearAveragePool.

    Means of four are often exactly half of a step; between DequantizeLinear and QuantizeLinear the factor of the scale
    would decide at random which way they are rounded.
    """
    zero_point = writer.constant(np.asarray(writer.graph.spec(node.output).grid.zero_point, np.float32))
    wide = writer.emit("Cast", [writer.integers(node.inputs[0])], to=FLOAT)
    mean = writer.emit(
        "AveragePool",
        [writer.emit("Sub", [wide, zero_point])],
        kernel_shape=node.ints("kernel"),
        strides=node.ints("strides"),
        pads=node.ints("pads"),
    )
    rounded = writer.emit("Add", [writer.emit("Round", [mean]), zero_point])
    writer.move(node, "Cast", [rounded], to=UINT8)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write AVERAGE_POOL_2D, whose SAME padding is not counted either."""
    writer.pool(node, "AVERAGE_POOL_2D")
