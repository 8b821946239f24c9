"""Pad: a border of a constant integer, of mirrored or of repeated values; pads in ONNX order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.affine import quantise
from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Pads in ONNX order, the fill value as an integer on the grid."""
    if grid is None:
        raise ValueError(f"Pad '{node.name}' needs a grid")
    value = quantise(np.float32(node.fill()), grid, "uint8")
    return {"pads": tuple(node.argument(1)), "mode": node.text("mode", "constant"), "value": int(value)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Pad the integers."""
    pads, rank = node.ints("pads"), len(output.shape)
    widths = [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    if node.text("mode") == "constant":
        return np.pad(inputs[0].values, widths, constant_values=node.integer("value"))
    return np.pad(inputs[0].values, widths, mode="reflect" if node.text("mode") == "reflect" else "edge")


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Pad of integers."""
    pads = writer.constant(np.asarray(node.ints("pads"), np.int64))
    value = writer.constant(np.asarray(node.integer("value"), np.uint8))
    writer.move(node, "Pad", [writer.integers(node.inputs[0]), pads, value], mode=node.text("mode"))


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write PAD where the fill is the zero point, else PADV2; reflect and edge are MIRROR_PAD.

    Edge padding is SYMMETRIC padding by one, repeated: each repeats the outermost values once more.
    """
    spec = writer.graph.spec(node.inputs[0])
    rank, pads = len(spec.shape), node.ints("pads")
    order = writer.order(node.inputs, rank)
    x = writer.read(node.inputs[0], order)
    table = np.asarray([[pads[axis], pads[axis + rank]] for axis in order], np.int32)
    if node.text("mode") == "reflect":
        writer.write(node, "MIRROR_PAD", [x, writer.constant(table)], order, mode="REFLECT")
    elif node.text("mode") == "edge":
        _repeat_edges(node, writer, x, table, order)
    elif node.integer("value") == spec.grid.zero_point:
        writer.write(node, "PAD", [x, writer.constant(table)], order)
    else:
        grid = QuantParams.per_tensor(spec.grid.scale[0], spec.grid.zero_point - 128)
        fill = writer.constant(np.asarray([node.integer("value") - 128], np.int8), grid)
        writer.write(node, "PADV2", [x, writer.constant(table), fill], order)


def _repeat_edges(
    node: IntegerNode, writer: TfliteWriter, x: str, table: npt.NDArray[np.int32], order: Sequence[int]
) -> None:
    while table.max() > 1:
        step = np.minimum(table, 1)
        shape = [size + int(pads.sum()) for size, pads in zip(writer.shape(x), step, strict=True)]
        x = writer.emit("MIRROR_PAD", [x, writer.constant(step)], shape, node.inputs[0], mode="SYMMETRIC")
        table = table - step
    writer.write(node, "MIRROR_PAD", [x, writer.constant(table)], order, mode="SYMMETRIC")
