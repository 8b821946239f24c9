"""Spell reductions as ReduceMean and ReduceMax with explicit axes."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    NodePass,
    constant,
    graph_of,
    insert,
    integers,
    operand,
    optional,
    replace,
    reshape,
    shape_of,
    substitute,
)

KINDS = {"ReduceMean": "ReduceMean", "ReduceMax": "ReduceMax", "ReduceSum": "ReduceMean"}


class ExplicitReductions(NodePass):
    """Bring ReduceMean, ReduceMax and ReduceSum into one form.

    Given::

        x [1, C, H, W] -> ReduceSum(axes = -1, -2) -> y [1, C]

    Result::

        x [1, C, H, W] -> ReduceMean(axes = 2, 3, keepdims = 0) -> Mul(H * W) -> y [1, C]

    Rules:
        E1. Axes are an input, counted from the front and sorted; none means all of them.
        E2. Axes of size 1, the batch first of all, are not reduced but reshaped away.
        E3. ReduceSum is the mean times the number of elements, which is static.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply E1 to E3 to one node."""
        if node.op_type not in KINDS or node.outputs[0].dtype != ir.DataType.FLOAT:
            return False
        axes, value = _axes(node), operand(node, 0)
        if axes is None or _is_normal(node, axes):
            return False
        shape = shape_of(value)
        real = tuple(axis for axis in axes if shape[axis] > 1)
        count = math.prod(shape[axis] for axis in axes)
        result = self._reduced(node, value, real) if real else value
        if shape_of(result) != shape_of(node.outputs[0]):
            result = reshape(node, result, shape_of(node.outputs[0]))
        if node.op_type == "ReduceSum" and count > 1:
            factor = constant(graph_of(node), f"{node.name}/count", np.asarray(count, np.float32))
            substitute(node, "Mul", [result, factor])
        else:
            replace(node, result)
        return True

    def _reduced(self, node: ir.Node, value: ir.Value, axes: tuple[int, ...]) -> ir.Value:
        keep = node.attributes.get_int("keepdims", 1)
        kept = [1 if axis in axes else size for axis, size in enumerate(shape_of(value))]
        shape = kept if keep else [size for axis, size in enumerate(kept) if axis not in axes]
        listed = constant(graph_of(node), f"{node.name}/axes", np.asarray(axes, np.int64))
        return insert(node, KINDS[node.op_type], [value, listed], shape, {"keepdims": keep}, suffix="Reduce")


def _axes(node: ir.Node) -> tuple[int, ...] | None:
    rank = len(shape_of(operand(node, 0)))
    if optional(node, 1) is None:
        given = tuple(node.attributes.get_ints("axes", ()))
    else:
        constant_axes = integers(node, 1)
        if constant_axes is None:
            return None
        given = constant_axes
    if not given:
        return () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in given))


def _is_normal(node: ir.Node, axes: tuple[int, ...]) -> bool:
    shape = shape_of(operand(node, 0))
    plain = node.op_type != "ReduceSum" and set(node.attributes) <= {"keepdims"}
    return plain and bool(axes) and integers(node, 1) == axes and all(shape[axis] > 1 for axis in axes)
