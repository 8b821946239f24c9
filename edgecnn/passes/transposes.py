"""Bring transposes together, so that models that speak NHWC at their borders speak NCHW throughout."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, array, constant, graph_of, insert, operand, replace, shape_of, sole_reader

UNARY = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Neg", "Cast")
BINARY = ("Add", "Sub", "Mul", "Div")
Perm = tuple[int, ...]


class JoinTransposes(NodePass):
    """Move a Transpose up through elementwise operators to the model's input or to another Transpose.

    Given::

        image [1, H, W, C] -> Sub(mean [C]) -> Mul(1/std [C]) -> Transpose(0, 3, 1, 2) -> Conv

    Result::

        image [1, H, W, C] -> Transpose(0, 3, 1, 2) -> Sub(mean [C, 1, 1]) -> Mul(1/std [C, 1, 1]) -> Conv

    Rules:
        J1. Two transposes in a row are one; if they cancel, none.
        J2. A Transpose passes operators that work on elements alone, and arithmetic with a constant, whose axes are
            permuted along. Each must have no other reader, and the way must end at a Transpose, or for a Transpose from
            NHWC to NCHW at the graph's input, so that something is gained.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply J1 and J2 to one node."""
        if node.op_type != "Transpose":
            return False
        chain = _chain_above(node)
        if chain:
            _move_above(node, chain)
            return True
        inner = operand(node, 0).producer()
        if inner is None or inner.op_type != "Transpose":
            return False
        _join(node, inner)
        return True


def permutation(node: ir.Node) -> Perm:
    """Return the permutation of a Transpose; without one the axes are reversed."""
    rank = len(shape_of(operand(node, 0)))
    return tuple(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def _chain_above(node: ir.Node) -> list[ir.Node]:
    """Return the elementwise nodes above, nearest first, if they end where something is gained (J2)."""
    chain: list[ir.Node] = []
    value, reader = operand(node, 0), node
    while (producer := value.producer()) is not None and sole_reader(value) is reader and _is_elementwise(producer):
        chain.append(producer)
        value, reader = operand(producer, _data_index(producer)), producer
    top = value.producer()
    to_nchw = permutation(node) == (0, 3, 1, 2)
    gained = value.is_graph_input() and to_nchw if top is None else top.op_type == "Transpose"
    return chain if gained and len(shape_of(value)) == len(permutation(node)) else []


def _is_elementwise(node: ir.Node) -> bool:
    if node.op_type in UNARY:
        return True
    if node.op_type not in BINARY:
        return False
    data = operand(node, _data_index(node))
    one_constant = sum(array(value) is not None for value in node.inputs) == 1
    return one_constant and shape_of(data) == shape_of(node.outputs[0])


def _data_index(node: ir.Node) -> int:
    return 1 if node.op_type in BINARY and array(node.inputs[0]) is not None else 0


def _move_above(node: ir.Node, chain: list[ir.Node]) -> None:
    perm, top = permutation(node), chain[-1]
    value = operand(top, _data_index(top))
    shape = [shape_of(value)[axis] for axis in perm]
    moved = insert(top, "Transpose", [value], shape, {"perm": perm}, suffix="Transpose", dtype=value.dtype)
    top.replace_input_with(_data_index(top), moved)
    for step in chain:
        step.outputs[0].shape = ir.Shape([shape_of(step.outputs[0])[axis] for axis in perm])
        if step.op_type in BINARY:
            _permute_constant(step, perm)
    replace(node, operand(node, 0))
    inner, outer = value.producer(), moved.producer()
    if inner is not None and outer is not None:
        _join(outer, inner)


def _permute_constant(node: ir.Node, perm: Perm) -> None:
    index = 1 - _data_index(node)
    content = array(node.inputs[index])
    if content is None or content.size == 1:
        return
    aligned = content.reshape((1,) * (len(perm) - content.ndim) + content.shape)
    moved = np.ascontiguousarray(aligned.transpose(perm))
    node.replace_input_with(index, constant(graph_of(node), f"{node.name}/permuted", moved))


def _join(outer: ir.Node, inner: ir.Node) -> None:
    """Let ``outer`` do the work of both (J1); ``inner`` stays for its other readers."""
    perm = tuple(permutation(inner)[axis] for axis in permutation(outer))
    outer.replace_input_with(0, operand(inner, 0))
    outer.attributes.add(ir.AttrInt64s("perm", perm))
    if perm == tuple(range(len(perm))):
        replace(outer, operand(outer, 0))
