"""AveragePool: mean of each window; padding is not counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import saturate
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.windows import output_size, pad_map, windows

GRID = "shared"
OPERANDS = 1
FLOAT, UINT8 = 1, 2  # onnx.TensorProto.DataType
MIDDLE = 128


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Spell out every default of the ONNX operator."""
    return node.pooling()


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Sum exactly, divide by the number of real pixels in the window, round once.

    Means of an even number of pixels are often exactly half of a step. They are rounded to even from the zero point,
    or, where windows reach into padding, away from the middle of the grid: TFLite has only its own kernel for those.

    Source: TensorFlow, ``tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h``.
    """
    kernel, strides, pads = node.ints("kernel"), node.ints("strides"), node.ints("pads")
    real = np.ones((1, 1, *inputs[0].values.shape[2:]), np.int32)
    counts = windows(pad_map(real, pads, 0), kernel, strides).sum(axis=(4, 5))
    centre = rounding_centre(node, inputs[0].values.shape, output)
    total = windows(pad_map(inputs[0].values.astype(np.int32) - centre, pads, 0), kernel, strides).sum(axis=(4, 5))
    if pads_count(node, inputs[0].values.shape):
        rounded = np.sign(total) * ((2 * np.abs(total) + counts) // (2 * counts))
    else:
        rounded = np.rint(total.astype(np.float32) / counts.astype(np.float32))
    return saturate((rounded + centre).astype(np.float32), output.dtype)


def pads_count(node: IntegerNode, shape: Sequence[int]) -> bool:
    """Say whether any window on a map (N, C, H, W) reaches into padding."""
    kernel, strides, pads = node.ints("kernel"), node.ints("strides"), node.ints("pads")
    sizes = [output_size(shape[2 + i], kernel[i], strides[i], pads[i], pads[2 + i]) for i in (0, 1)]
    last = [(size - 1) * strides[i] + kernel[i] - pads[i] for i, size in enumerate(sizes)]
    return any(pads[:2]) or any(end > size for end, size in zip(last, shape[2:], strict=True))


def rounding_centre(node: IntegerNode, shape: Sequence[int], output: TensorSpec) -> int:
    """Return the integer from which means are rounded."""
    return MIDDLE if pads_count(node, shape) else output.grid.zero_point


def away_factor(node: IntegerNode) -> float:
    """Return a factor by which a multiple of ``1 / count`` below 128 gets to the far side of a half, but no further."""
    return float(1 + 1 / (4 * MIDDLE * np.prod(node.ints("kernel"))))


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write an AveragePool of the integers as floats, rounded by Round: exact, and faster than QLinearAveragePool.

    Between DequantizeLinear and QuantizeLinear the factor of the scale would decide at random which way halves go.
    """
    shape, output = writer.graph.spec(node.inputs[0]).shape, writer.graph.spec(node.output)
    centre = writer.constant(np.asarray(rounding_centre(node, shape, output), np.float32))
    wide = writer.emit("Cast", [writer.integers(node.inputs[0])], to=FLOAT)
    mean = writer.emit(
        "AveragePool",
        [writer.emit("Sub", [wide, centre])],
        kernel_shape=node.ints("kernel"),
        strides=node.ints("strides"),
        pads=node.ints("pads"),
    )
    if pads_count(node, shape):
        mean = writer.emit("Mul", [mean, writer.constant(np.asarray(away_factor(node), np.float32))])
    rounded = writer.emit("Add", [writer.emit("Round", [mean]), centre])
    writer.move(node, "Cast", [rounded], to=UINT8)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write AVERAGE_POOL_2D, whose SAME padding is not counted either."""
    writer.pool(node, "AVERAGE_POOL_2D")
