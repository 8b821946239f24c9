"""Clip: integers held between ``low`` and ``high``, for clamps that the grid itself does not make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import quantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """The clamp's ends as integers on the grid."""
    if grid is None:
        raise ValueError(f"Clip '{node.name}' needs a grid")
    low, high = (quantise(np.float32(bound), grid, "uint8") for bound in node.bounds())
    return {"low": int(low), "high": int(high)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Clip the integers."""
    return np.clip(inputs[0].values, node.integer("low"), node.integer("high")).astype(output.dtype)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Clip of integers: unlike a Relu between Q and DQ, no runtime may drop it."""
    bounds = [writer.constant(np.asarray(node.integer(key), np.uint8)) for key in ("low", "high")]
    writer.move(node, "Clip", [writer.integers(node.inputs[0]), *bounds])


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write RELU where it means the same, else MAXIMUM and MINIMUM with constants on the same grid."""
    spec = writer.graph.spec(node.inputs[0])
    low, high = node.integer("low"), node.integer("high")
    if (low, high) == (spec.grid.zero_point, 255):
        writer.unary(node, "RELU")
        return
    bounds = [("MAXIMUM", low)] * (low > 0) + [("MINIMUM", high)] * (high < 255)
    order = writer.order(node.inputs, len(spec.shape))
    x = writer.read(node.inputs[0], order)
    grid = QuantParams.per_tensor(spec.grid.scale[0], spec.grid.zero_point - 128)
    for op, bound in bounds[:-1]:
        limit = writer.constant(np.asarray([bound - 128], np.int8), grid)
        x = writer.emit(op, [x, limit], writer.shape(x), node.inputs[0])
    for op, bound in bounds[-1:]:
        limit = writer.constant(np.asarray([bound - 128], np.int8), grid)
        writer.write(node, op, [x, limit], order)
    if not bounds:
        writer.alias(node)
