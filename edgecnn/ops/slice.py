"""Slice: a box with steps cut from a tensor; one start, end and step a dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.ops import Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """One start, end and step a dimension, clamped to the shape as ONNX Slice-13 does."""
    shape = node.shape(0)
    starts, ends, steps = [0] * len(shape), list(shape), [1] * len(shape)
    axes = node.argument(3, range(len(node.argument(1))))
    for index, axis in enumerate(axes):
        step = node.argument(4, [1] * len(axes))[index]
        cut = slice(node.argument(1)[index], node.argument(2)[index], step).indices(shape[axis])
        starts[axis], ends[axis], steps[axis] = cut
    return {"starts": tuple(starts), "ends": tuple(ends), "steps": tuple(steps)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Cut the integers."""
    bounds = zip(node.ints("starts"), node.ints("ends"), node.ints("steps"), strict=True)
    return inputs[0].values[tuple(slice(start, end, step) for start, end, step in bounds)]


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Slice of integers over the axes that are really cut."""
    shape = writer.graph.spec(node.inputs[0]).shape
    bounds = list(zip(node.ints("starts"), node.ints("ends"), shape, node.ints("steps"), strict=True))
    axes = [axis for axis, (start, end, size, step) in enumerate(bounds) if (start, end, step) != (0, size, 1)] or [0]
    columns = (
        [bounds[axis][0] for axis in axes],
        [bounds[axis][1] for axis in axes],
        axes,
        [bounds[a][3] for a in axes],
    )
    arguments = [writer.constant(np.asarray(column, np.int64)) for column in columns]
    writer.move(node, "Slice", [writer.integers(node.inputs[0]), *arguments])


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write SLICE, or STRIDED_SLICE where a step is larger than 1."""
    shape, output = (writer.graph.spec(name).shape for name in (node.inputs[0], node.output))
    order = writer.order(node.inputs, len(shape))
    x = writer.read(node.inputs[0], order)
    starts, ends, steps = (_ordered(node.ints(key), order) for key in ("starts", "ends", "steps"))
    if (steps > 1).any():
        bounds = [writer.constant(item) for item in (starts, ends, steps)]
        writer.write(node, "STRIDED_SLICE", [x, *bounds], order)
    elif shape != output:
        bounds = [writer.constant(item) for item in (starts, _ordered(output, order))]
        writer.write(node, "SLICE", [x, *bounds], order)
    else:
        writer.alias(node)


def _ordered(values: Sequence[int], order: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.asarray([values[axis] for axis in order], np.int32)
