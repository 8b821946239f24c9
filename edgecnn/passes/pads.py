"""Spell padding with explicit, non-negative pads, and take it out of average pools that count it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    NodePass,
    array,
    constant,
    graph_of,
    insert,
    integers,
    operand,
    optional,
    replace,
    shape_of,
    substitute,
)
from edgecnn.passes.slices import cut

Ints = tuple[int, ...]


class ExplicitPads(NodePass):
    """Bring Pad into one form, and AveragePool to the meaning that padding is not counted.

    Given::

        x -> AveragePool(pads = p, count_include_pad = 1) -> y

    Result::

        x -> Pad(p) -> AveragePool(pads = 0) -> y

    Rules:
        B1. AveragePool with count_include_pad and pads: the padding becomes a Pad of zeros. With ceil_mode this holds
            only where the windows fit exactly; else it stays, and is refused later.
        B2. Pad gets pads for all dimensions and a scalar fill value.
        B3. Negative pads crop: that part becomes a Slice.

    Requires: explicit layer attributes.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply B1 to B3 to one node."""
        if node.op_type == "AveragePool":
            return _average_pool(node)
        return node.op_type == "Pad" and _pad(node)


def _average_pool(node: ir.Node) -> bool:
    attributes = node.attributes
    pads = tuple(attributes.get_ints("pads", (0, 0, 0, 0)))
    counted, ceil = attributes.get_int("count_include_pad", 0), attributes.get_int("ceil_mode", 0)
    if counted == 0 or ceil == 1 or len(pads) != 4:
        return False
    attributes.pop("count_include_pad", None)
    if any(pads):
        value = operand(node, 0)
        batch, channels, height, width = shape_of(value)
        full = (0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3])
        shape = (batch, channels, height + pads[0] + pads[2], width + pads[1] + pads[3])
        node.replace_input_with(0, insert(node, "Pad", _inputs(node, value, full, 0.0), shape, {"mode": "constant"}))
        attributes.add(ir.AttrInt64s("pads", (0, 0, 0, 0)))
    return True


def _pad(node: ir.Node) -> bool:
    value, pads = operand(node, 0), _full_pads(node)
    if pads is None or (optional(node, 2) is not None and array(node.inputs[2]) is None):
        return False
    if pads == integers(node, 1) and optional(node, 3) is None and optional(node, 2) is not None:
        return False
    fill = array(optional(node, 2))
    number = 0.0 if fill is None else float(fill.astype(np.float64).reshape(-1)[0])
    grown: Ints = tuple(max(0, pad) for pad in pads)
    if grown != pads:
        value = _cropped(node, value, pads)
    if not any(grown):
        replace(node, value)
        return True
    mode = node.attributes.get_string("mode", "constant")
    substitute(node, "Pad", _inputs(node, value, grown, number), {"mode": mode})
    return True


def _full_pads(node: ir.Node) -> Ints | None:
    rank, pads = len(shape_of(operand(node, 0))), integers(node, 1)
    if pads is None or optional(node, 3) is None:
        return pads
    axes = integers(node, 3)
    if axes is None:
        return None
    full = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        full[axis % rank], full[axis % rank + rank] = pads[index], pads[index + len(axes)]
    return tuple(full)


def _cropped(node: ir.Node, value: ir.Value, pads: Ints) -> ir.Value:
    shape = shape_of(value)
    rank = len(shape)
    bounds = [(max(0, -pads[axis]), size - max(0, -pads[axis + rank]), 1) for axis, size in enumerate(shape)]
    return cut(node, value, bounds, "Crop")


def _inputs(node: ir.Node, value: ir.Value, pads: Ints, fill: float) -> list[ir.Value]:
    graph = graph_of(node)
    return [
        value,
        constant(graph, f"{node.name}/pads", np.asarray(pads, np.int64)),
        constant(graph, f"{node.name}/fill", np.asarray(fill, np.float32)),
    ]
