"""Spell every clamp with constant bounds as Relu or Clip."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    NodePass,
    absorb,
    array,
    constant,
    graph_of,
    operand,
    optional,
    replace,
    sole_reader,
    substitute,
)

LOWEST, HIGHEST = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)
Bounds = tuple[float, float]


class ClampsToClip(NodePass):
    """Turn Min, Max, Clip and Relu into one Relu or one Clip.

    Given::

        x -> Relu -> Min(6) -> y

    Result::

        x -> Clip(0, 6) -> y

    Rules:
        C1. Max with a constant is a lower bound, Min an upper bound, a Clip's missing bound is none.
        C2. A clamp that is read by another clamp alone merges into it: ``clamp(clamp(x, a, b), c, d)`` is
            ``clamp(x, clamp(a, c, d), clamp(b, c, d))``.
        C3. A lower bound of 0 and no upper bound is Relu; no bound at all is nothing.
        C4. What is left is a Clip with scalar constants; a bound that is missing, or as large as float32 goes, is
            left out.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply C1 to C4 to one node."""
        bounds = clamp_bounds(node)
        if bounds is None:
            return False
        value = _data(node)
        inner = value.producer()
        merged = None if inner is None or sole_reader(value) is not node else clamp_bounds(inner)
        if inner is not None and merged is not None:
            bounds = (min(max(merged[0], bounds[0]), bounds[1]), max(min(merged[1], bounds[1]), bounds[0]))
            value = _data(inner)
            absorb(node, inner)
        elif _is_normal(node, bounds):
            return False
        _place(node, value, bounds)
        return True


def clamp_bounds(node: ir.Node) -> Bounds | None:
    """Return the bounds of a clamp, `LOWEST` and `HIGHEST` for none; None if ``node`` is no clamp by constants."""
    if node.op_type == "Relu":
        return 0.0, HIGHEST
    if node.op_type == "Clip":
        low, high = _bound(node, 1, LOWEST), _bound(node, 2, HIGHEST)
        return None if low is None or high is None else (low, high)
    if node.op_type in ("Min", "Max") and len(node.inputs) == 2:
        scalars = [content for content in map(array, node.inputs) if content is not None and content.size == 1]
        if len(scalars) == 1 and node.outputs[0].shape == _data(node).shape:
            limit = float(scalars[0].reshape(-1)[0])
            return (limit, HIGHEST) if node.op_type == "Max" else (LOWEST, limit)
    return None


def _bound(node: ir.Node, index: int, default: float) -> float | None:
    if optional(node, index) is None:
        return default
    content = array(optional(node, index))
    return None if content is None else float(np.clip(content.astype(np.float64).reshape(-1)[0], LOWEST, HIGHEST))


def _data(node: ir.Node) -> ir.Value:
    return operand(node, 1) if array(operand(node, 0)) is not None else operand(node, 0)


def _is_normal(node: ir.Node, bounds: Bounds) -> bool:
    if node.op_type == "Clip" and bounds not in ((0.0, HIGHEST), (LOWEST, HIGHEST)):
        omitted = [optional(node, index) is None for index in (1, 2)]
        return omitted == [bounds[0] == LOWEST, bounds[1] == HIGHEST]
    return node.op_type == "Relu"


def _place(node: ir.Node, value: ir.Value, bounds: Bounds) -> None:
    if bounds == (LOWEST, HIGHEST):
        replace(node, value)
    elif bounds == (0.0, HIGHEST):
        substitute(node, "Relu", [value])
    else:
        low, high = _limit(node, "min", bounds[0]), _limit(node, "max", bounds[1])
        substitute(node, "Clip", [value, low] if high is None else [value, low, high])


def _limit(node: ir.Node, name: str, limit: float) -> ir.Value | None:
    if limit in (LOWEST, HIGHEST):
        return None
    return constant(graph_of(node), f"{node.name}/{name}", np.asarray(limit, np.float32))
