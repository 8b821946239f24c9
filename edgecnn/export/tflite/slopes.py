"""Elementwise operators that are exact as a MUL by a constant, where TFLite's own ones are not.

XNNPACK's MUL rounds a product once, in float32, ties to even: as the integer graph does. Its LEAKY_RELU and its
QUANTIZE from int8 to int8 work with 8-bit factors and are one off in up to 10 % of the values; PRELU has no XNNPACK
kernel at all (a detector took 51 ms with it instead of 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn.integer_graph import IntegerNode
from edgecnn.tensor import QuantParams

if TYPE_CHECKING:
    from edgecnn.export.tflite.writer import Writer

# Ratios of scales (input times constant, to output) that XNNPACK's MUL takes. Source: XNNPACK, ``qs8-vmul`` checks.
_RATIOS = (2.0**-16, 2.0**8)
_ONE = (np.full(1, 127, np.int8), QuantParams.per_tensor(1 / 127))


def write_rescaled(writer: Writer, node: IntegerNode) -> None:
    """Write a change of grid as a MUL by 1, or as QUANTIZE where the grids lie too far apart for a MUL."""
    given, wanted = (writer.graph.spec(name).grid for name in (node.inputs[0], node.output))
    if not _RATIOS[0] <= given.scale[0] / 127 / wanted.scale[0] < _RATIOS[1]:
        writer.unary(node, "QUANTIZE")
        return
    order = writer.order(node.inputs, len(writer.graph.spec(node.output).shape))
    x = writer.read(node.inputs[0], order)
    one = _constant(writer, x, *_ONE)
    writer.write(node, "MUL", [x, one], order, fused_activation_function="NONE")


def write_slopes(writer: Writer, node: IntegerNode, slope: npt.NDArray[np.int8], step: QuantParams) -> None:
    """Write ``slope * min(x, 0) + max(x, 0)`` as MUL, MUL and ADD; slopes of both signs take a MUL and an ADD more.

    The products are rounded on the output's scale, and saturate on the side of 0 where they do not count: with positive
    slopes above 0, with negative ones below. An ADD of equal scales is exact, and of its two operands one is 0. All are
    operators of XNNPACK and of the Edge TPU, which has no LEAKY_RELU.

    Args:
        writer: The writer.
        node: The node; its first input is x.
        slope: Slopes as int8: of shape (1,), or in the shape of x in memory, axes of 1 left to broadcasting.
        step: The slopes' grid.
    """
    order = writer.order(node.inputs[:1], len(writer.graph.spec(node.output).shape))
    x = writer.read(node.inputs[0], order)
    scale = writer.graph.spec(node.output).grid.scale[0]
    above, below = QuantParams.per_tensor(scale, 0), QuantParams.per_tensor(scale, 255)
    total, falling, rising = _product(writer, x, *_ONE, above), np.minimum(slope, 0), np.maximum(slope, 0)
    if falling.any() and rising.any():
        parts = [total, _product(writer, x, falling, step, above)]
        total = writer.emit("ADD", parts, writer.shape(x), above, fused_activation_function="NONE")
    if not slope.any():
        writer.write(node, "QUANTIZE", [total], order)
        return
    part = (rising, below) if rising.any() else (falling, above)
    last = _product(writer, x, part[0], step, part[1])
    writer.write(node, "ADD", [last, total], order, fused_activation_function="NONE")


def _product(writer: Writer, x: str, factor: npt.NDArray[np.int8], step: QuantParams, grid: QuantParams) -> str:
    constant = _constant(writer, x, factor, step)
    return writer.emit("MUL", [x, constant], writer.shape(x), grid, fused_activation_function="NONE")


def _constant(writer: Writer, x: str, factor: npt.NDArray[np.int8], step: QuantParams) -> str:
    rank = len(writer.shape(x))
    shape: Sequence[int] = factor.shape if factor.ndim == rank else (1,) * rank
    return writer.constant(factor.reshape(shape), step)
