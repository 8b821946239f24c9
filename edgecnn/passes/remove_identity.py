"""Remove nodes that do nothing in inference."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, array, integers, is_needed_copy, operand, replace, shape_of
from edgecnn.passes.transposes import permutation

NEUTRAL = {"Mul": 1.0, "Div": 1.0, "Add": 0.0, "Sub": 0.0}


class RemoveIdentity(NodePass):
    """Remove what does nothing.

    Given::

        x -> Conv -> Identity | Dropout | Cast to the same type | Pad by 0 | Mul by 1 | ... -> y

    Result::

        x -> Conv -> y

    Rules:
        I1. Identity and Dropout always go.
        I2. Cast goes where the type stays.
        I3. Reshape, Flatten, Squeeze, Unsqueeze, Expand, Tile, Slice, Pad and Concat go where the shape stays: none of
            them can then move or change an element. Transpose goes where the permutation is the identity.
        I4. Mul and Div by 1, Add and Sub of 0 go where the shape stays.
        I5. Expand goes where only Add, Sub and Mul read it, whose other input has the full shape: they broadcast.

    Ensures: a graph output keeps its name (see `replace`).
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply I1 to I5 to one node."""
        if not _does_nothing(node):
            return False
        replace(node, operand(node, _kept_input(node)))
        return True


def _does_nothing(node: ir.Node) -> bool:
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    if node.op_type in ("Identity", "Dropout"):
        return True
    rule = RULES.get(node.op_type)
    return rule is not None and node.inputs[0] is not None and rule(node)


def _same_shape(node: ir.Node) -> bool:
    return shape_of(operand(node, 0)) == shape_of(node.outputs[0])


def _same_type(node: ir.Node) -> bool:
    return operand(node, 0).dtype == node.outputs[0].dtype


def _needless_reshape(node: ir.Node) -> bool:
    return _same_shape(node) and not is_needed_copy(node)


def _needless_expand(node: ir.Node) -> bool:
    return _same_shape(node) or _only_broadcast(node.outputs[0])


def _needless_transpose(node: ir.Node) -> bool:
    return permutation(node) == tuple(range(len(shape_of(operand(node, 0)))))


def _needless_slice(node: ir.Node) -> bool:
    return _same_shape(node) and all(step > 0 for step in integers(node, 4) or (1,))


def _needless_pad(node: ir.Node) -> bool:
    pads = integers(node, 1)
    return pads is not None and not any(pads)


def _single_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


def _only_broadcast(value: ir.Value) -> bool:
    if value.is_graph_output():
        return False
    for use in value.uses():
        if use.node.op_type not in ("Add", "Sub", "Mul"):
            return False
        other = operand(use.node, 1 - use.idx)
        if other is value or shape_of(other) != shape_of(use.node.outputs[0]):
            return False
    return True


def _is_neutral(node: ir.Node) -> bool:
    kept, other = _kept_input(node), 1 - _kept_input(node)
    content = array(node.inputs[other])
    if content is None or shape_of(operand(node, kept)) != shape_of(node.outputs[0]):
        return False
    return bool((content == NEUTRAL[node.op_type]).all())


def _kept_input(node: ir.Node) -> int:
    """Return the input that passes through; the second one only for a commutative operator with a constant first."""
    return 1 if node.op_type in ("Mul", "Add") and array(node.inputs[0]) is not None else 0


RULES: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _same_type,
    "Concat": _single_input,
    "Expand": _needless_expand,
    "Flatten": _same_shape,
    "Pad": _needless_pad,
    "Reshape": _needless_reshape,
    "Slice": _needless_slice,
    "Squeeze": _same_shape,
    "Tile": _same_shape,
    "Transpose": _needless_transpose,
    "Unsqueeze": _same_shape,
    **dict.fromkeys(NEUTRAL, _is_neutral),
}
