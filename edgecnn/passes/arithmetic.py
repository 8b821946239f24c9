"""Spell elementwise arithmetic with Add, Sub and Mul."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    Array,
    NodePass,
    array,
    constant,
    graph_of,
    insert,
    operand,
    replace,
    shape_of,
    substitute,
)


class ArithmeticToAddMul(NodePass):
    """Bring elementwise arithmetic into the form that grids know.

    Given::

        x -> Div(4) -> Neg -> y

    Result::

        x -> Mul(0.25) -> Mul(-1) -> y

    Rules:
        M1. Div by a constant is Mul by its reciprocal, Neg is Mul by -1, Pow by 2 is Mul of x with itself.
        M2. ``constant - x`` is ``x * -1 + constant``.
        M3. Sum of several inputs is a chain of Adds, Mean one of Adds and a Mul. One input alone passes through.
        M4. In Add and Mul a constant stands second.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply M1 to M4 to one node."""
        rule = RULES.get(node.op_type)
        return rule is not None and node.outputs[0].dtype == ir.DataType.FLOAT and rule(node)


def _div(node: ir.Node) -> bool:
    divisor = array(node.inputs[1])
    if divisor is None or array(node.inputs[0]) is not None or (divisor == 0).any():
        return False
    substitute(node, "Mul", [operand(node, 0), _float(node, "reciprocal", 1 / divisor.astype(np.float64))])
    return True


def _neg(node: ir.Node) -> bool:
    substitute(node, "Mul", [operand(node, 0), _float(node, "minus_one", np.asarray(-1.0))])
    return True


def _pow(node: ir.Node) -> bool:
    exponent = array(node.inputs[1])
    if exponent is None or not (exponent == 2).all() or shape_of(operand(node, 0)) != shape_of(node.outputs[0]):
        return False
    substitute(node, "Mul", [operand(node, 0), operand(node, 0)])
    return True


def _sub(node: ir.Node) -> bool:
    minuend = array(node.inputs[0])
    if minuend is None or array(node.inputs[1]) is not None:
        return False
    value = operand(node, 1)
    negative = insert(node, "Mul", [value, _float(node, "minus_one", np.asarray(-1.0))], shape_of(value))
    substitute(node, "Add", [negative, operand(node, 0)])
    return True


def _sum(node: ir.Node) -> bool:
    substitute(node, "Add", _last_two(node))
    return True


def _mean(node: ir.Node) -> bool:
    shape, count = shape_of(node.outputs[0]), len(node.inputs)
    total = insert(node, "Add", _last_two(node), shape) if count > 1 else operand(node, 0)
    substitute(node, "Mul", [total, _float(node, "share", np.asarray(1 / count))])
    return True


def _last_two(node: ir.Node) -> list[ir.Value]:
    """Add up all inputs but the last; return the sum and the last."""
    total = operand(node, 0)
    for index in range(1, len(node.inputs) - 1):
        value = operand(node, index)
        shape = np.broadcast_shapes(shape_of(total), shape_of(value))
        total = insert(node, "Add", [total, value], shape, suffix=f"Add{index}")
    return [total, operand(node, len(node.inputs) - 1)]


def _single_sum(node: ir.Node) -> bool:
    if len(node.inputs) > 1:
        return _sum(node)
    replace(node, operand(node, 0))
    return True


def _constant_second(node: ir.Node) -> bool:
    if array(node.inputs[0]) is None or array(node.inputs[1]) is not None:
        return False
    first, second = operand(node, 0), operand(node, 1)
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)
    return True


def _float(node: ir.Node, name: str, content: Array) -> ir.Value:
    return constant(graph_of(node), f"{node.name}/{name}", content.astype(np.float32))


RULES = {
    "Div": _div,
    "Neg": _neg,
    "Pow": _pow,
    "Sub": _sub,
    "Sum": _single_sum,
    "Mean": _mean,
    "Add": _constant_second,
    "Mul": _constant_second,
}
