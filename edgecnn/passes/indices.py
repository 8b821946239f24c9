"""Bring ArgMax, whose output is indices and has no grid, to the end of the network."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, absorb, operand, replace, shape_of, sole_reader

NORMALISING = ("Softmax", "LogSoftmax")
INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)


class IndicesLast(NodePass):
    """Drop what surrounds an ArgMax and does not change which element is the largest.

    Given::

        x -> Softmax(axis = 1) -> ArgMax(axis = 1, keepdims = 1) -> Squeeze(1) -> Cast(int32) -> y

    Result::

        x -> ArgMax(axis = 1, keepdims = 0) -> y int64

    Rules:
        X1. Softmax and LogSoftmax along the same axis, Sigmoid, Tanh and LeakyRelu in front go: all of them rise
            with their input. Nobody else may read them.
        X2. A Squeeze or Reshape that only removes the axis becomes keepdims = 0.
        X3. A Cast of the indices to another integer type goes: indices leave as int64.

    Requires: Squeeze and Flatten are Reshapes.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply X1 to X3 to one ArgMax."""
        if node.op_type != "ArgMax":
            return False
        modified = False
        while _drop_before(node) or _drop_behind(node):
            modified = True
        return modified


def _drop_before(node: ir.Node) -> bool:
    value = operand(node, 0)
    producer = value.producer()
    if producer is None or sole_reader(value) is not node:
        return False
    rank = len(shape_of(value))
    same_axis = producer.attributes.get_int("axis", -1) % rank == node.attributes.get_int("axis", 0) % rank
    if not (producer.op_type in NORMALISING and same_axis) and not _rises(producer):
        return False
    node.replace_input_with(0, operand(producer, 0))
    absorb(node, producer)
    return True


def _rises(node: ir.Node) -> bool:
    """Say whether a larger input gives a larger output; those that clip make ties and do not."""
    if node.op_type == "LeakyRelu":
        return node.attributes.get_float("alpha", 0.01) > 0
    return node.op_type in ("Sigmoid", "Tanh")


def _drop_behind(node: ir.Node) -> bool:
    reader = sole_reader(node.outputs[0])
    if reader is None:
        return False
    axis, shape = node.attributes.get_int("axis", 0), shape_of(node.outputs[0])
    if reader.op_type == "Cast" and reader.outputs[0].dtype in INTEGERS:
        replace(reader, node.outputs[0])
        return True
    if reader.op_type != "Reshape" or node.attributes.get_int("keepdims", 1) == 0:
        return False
    squeezed = (*shape[: axis % len(shape)], *shape[axis % len(shape) + 1 :])
    if shape_of(reader.outputs[0]) != squeezed:
        return False
    node.attributes.add(ir.AttrInt64("keepdims", 0))
    node.outputs[0].shape = ir.Shape(squeezed)
    replace(reader, node.outputs[0])
    return True
