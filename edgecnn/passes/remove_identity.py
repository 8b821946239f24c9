"""Remove nodes that do nothing in inference."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, array, integers, is_needed_copy, operand, replace, shape_of

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
    value = node.inputs[0] if node.inputs else None
    if value is None or value.shape is None or node.outputs[0].shape is None:
        return False
    if node.op_type == "Reshape" and is_needed_copy(node):
        return False
    same_shape = shape_of(value) == shape_of(node.outputs[0])
    same_type = value.dtype == node.outputs[0].dtype
    if node.op_type == "Cast":
        return same_type
    if node.op_type == "Transpose":
        return tuple(node.attributes.get_ints("perm", (1, 0))) == tuple(range(len(shape_of(value))))
    if node.op_type == "Expand" and _only_broadcast(node.outputs[0]):
        return True
    if node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"):
        return same_shape
    if node.op_type == "Concat":
        return len(node.inputs) == 1
    if node.op_type == "Slice":
        return same_shape and all(step > 0 for step in integers(node, 4) or (1,))
    if node.op_type == "Pad":
        pads = integers(node, 1)
        return pads is not None and not any(pads)
    return node.op_type in NEUTRAL and _is_neutral(node)


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
