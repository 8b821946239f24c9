"""Spell everything that cuts a tensor as Slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    NodePass,
    absorb,
    constant,
    graph_of,
    insert,
    integers,
    operand,
    replace,
    reshape,
    shape_of,
    substitute,
)

Bounds = tuple[int, int, int]


class CutsToSlice(NodePass):
    """Turn Split, Gather, SpaceToDepth and every spelling of Slice into Slice with one bound per dimension.

    Given::

        x [1, 8, H, W] -> Split(axis = 1) -> a [1, 4, H, W], b [1, 4, H, W]

    Result::

        x -> Slice(0:4 along 1) -> a,  x -> Slice(4:8 along 1) -> b

    Rules:
        T1. Slice gets starts, ends, axes and steps for every dimension, counted from the front and clamped.
        T2. Split becomes one Slice for each output that is read.
        T3. Gather with constant indices that are evenly spaced upwards becomes Slice; a single index adds a Reshape.
        T4. SpaceToDepth becomes one strided Slice for each position in the block, and a Concat.
        T5. A Slice that only other Slices read merges into each of them.
        T6. Backward steps and uneven indices stay, and are refused later.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply T1 to T6 to one node."""
        rule = RULES.get(node.op_type)
        return rule is not None and rule(node)


def cut(at: ir.Node, value: ir.Value, bounds: Sequence[Bounds], suffix: str = "Slice") -> ir.Value:
    """Insert a Slice of ``value`` before ``at``.

    Args:
        at: The node it serves.
        value: What to cut.
        bounds: Start, end and step for every dimension, 0 <= start <= end <= size.
        suffix: Added to the node's name.
    """
    shape = [len(range(*bound)) for bound in bounds]
    return insert(at, "Slice", _inputs(at, value, bounds, suffix), shape, suffix=suffix)


def _inputs(at: ir.Node, value: ir.Value, bounds: Sequence[Bounds], suffix: str) -> list[ir.Value]:
    starts, ends, steps = zip(*bounds, strict=True)
    columns = {"starts": starts, "ends": ends, "axes": range(len(bounds)), "steps": steps}
    graph = graph_of(at)
    arguments = [
        constant(graph, f"{at.name}/{suffix}/{name}", np.asarray(column, np.int64)) for name, column in columns.items()
    ]
    return [value, *arguments]


def _whole(value: ir.Value) -> list[Bounds]:
    return [(0, size, 1) for size in shape_of(value)]


def _slice(node: ir.Node) -> bool:
    value, bounds = operand(node, 0), _bounds(node)
    if bounds is None:
        return False
    inner = value.producer()
    own = _bounds(inner) if inner is not None and inner.op_type == "Slice" and _only_cut(value) else None
    if inner is not None and own is not None:
        absorb(node, inner)
        value, bounds = operand(inner, 0), [_composed(a, b) for a, b in zip(own, bounds, strict=True)]
    elif _is_normal(node, bounds):
        return False
    substitute(node, "Slice", _inputs(node, value, bounds, "Bounds"))
    return True


def _only_cut(value: ir.Value) -> bool:
    return not value.is_graph_output() and all(use.node.op_type == "Slice" and use.idx == 0 for use in value.uses())


def _bounds(node: ir.Node) -> list[Bounds] | None:
    """Return start, end and step for every dimension; None if they are computed or go backwards."""
    value, starts, ends = operand(node, 0), integers(node, 1), integers(node, 2)
    if starts is None or ends is None:
        return None
    shape = shape_of(value)
    axes = tuple(axis % len(shape) for axis in integers(node, 3) or range(len(starts)))
    steps = integers(node, 4) or (1,) * len(starts)
    if any(step < 1 for step in steps):
        return None
    bounds = _whole(value)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        bounds[axis] = slice(start, end, step).indices(shape[axis])
    return bounds


def _composed(first: Bounds, second: Bounds) -> Bounds:
    """Return the bounds that cut by ``first`` and what is left by ``second``."""
    start, step = first[0] + second[0] * first[2], first[2] * second[2]
    return start, start + (len(range(*second)) - 1) * step + 1, step


def _is_normal(node: ir.Node, bounds: list[Bounds]) -> bool:
    starts, ends, steps = zip(*bounds, strict=True)
    found = [integers(node, index) for index in range(1, 5)]
    return found == [starts, ends, tuple(range(len(bounds))), steps]


def _split(node: ir.Node) -> bool:
    value, begin = operand(node, 0), 0
    axis = node.attributes.get_int("axis", 0) % len(shape_of(value))
    for index, output in enumerate(node.outputs):
        size = shape_of(output)[axis]
        if output.uses() or output.is_graph_output():
            bounds = _whole(value)
            bounds[axis] = (begin, begin + size, 1)
            _redirect(output, cut(node, value, bounds, f"Part{index}"))
        begin += size
    graph_of(node).remove(node, safe=True)
    return True


def _redirect(old: ir.Value, new: ir.Value) -> None:
    if old.is_graph_output():
        name, old.name = old.name, f"{old.name}/replaced"
        new.name = name
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def _gather(node: ir.Node) -> bool:
    value, indices = operand(node, 0), integers(node, 1)
    rank_of_indices = len(shape_of(operand(node, 1)))
    if indices is None or rank_of_indices > 1 or not indices:
        return False
    axis = node.attributes.get_int("axis", 0) % len(shape_of(value))
    size = shape_of(value)[axis]
    places = [index % size for index in indices]
    step = places[1] - places[0] if len(places) > 1 else 1
    if step < 1 or places != list(range(places[0], places[-1] + 1, step)):
        return False
    bounds = _whole(value)
    bounds[axis] = (places[0], places[-1] + 1, step)
    part = cut(node, value, bounds)
    shape = shape_of(node.outputs[0])
    replace(node, part if rank_of_indices else reshape(node, part, shape))
    return True


def _space_to_depth(node: ir.Node) -> bool:
    """Source: ONNX SpaceToDepth-13: the block's row and column are the slow part of the output channel."""
    value, block = operand(node, 0), node.attributes["blocksize"].as_int()
    batch, channels, height, width = _whole(value)
    parts = [
        cut(node, value, [batch, channels, (row, height[1], block), (column, width[1], block)], f"Part{row}{column}")
        for row in range(block)
        for column in range(block)
    ]
    substitute(node, "Concat", parts, {"axis": 1})
    return True


RULES = {"Slice": _slice, "Split": _split, "Gather": _gather, "SpaceToDepth": _space_to_depth}
