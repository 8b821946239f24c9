"""Merge zero padding into the convolution behind it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, absorb, array, integers, operand, optional, replace, shape_of

Pads = tuple[int, int, int, int]
NON_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid")


class FoldPad(NodePass):
    """Merge a constant Pad into the pads of every layer that reads it.

    Given::

        x -> Pad(value = 0, top, left, bottom, right) -> Conv(pads = p) -> y

    Result::

        x -> Conv(pads = p + (top, left, bottom, right)) -> y

    Rules:
        Z1. Only a constant Pad of zeros on the two spatial axes, nothing cropped.
        Z2. All readers are Conv, whose padding is zeros as well; else the Pad stays.
        Z3. A MaxPool pads with minus infinity. Zeros are the same where nothing is negative (behind Relu, Sigmoid,
            Clip from 0) and no pad is as wide as the kernel.

    Requires: explicit pads on Conv and MaxPool.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply Z1 to Z3 to one node."""
        pads = spatial_zero_pads(node)
        readers = [use.node for use in node.outputs[0].uses()]
        if pads is None or not readers or node.outputs[0].is_graph_output():
            return False
        if not all(_takes(reader, node, pads) for reader in readers):
            return False
        for reader in readers:
            total = [own + more for own, more in zip(_pads(reader), pads, strict=True)]
            reader.attributes.add(ir.AttrInt64s("pads", total))
            absorb(reader, node)
        replace(node, operand(node, 0))
        return True


def spatial_zero_pads(node: ir.Node) -> Pads | None:
    """Return top, left, bottom, right of a Pad that adds zeros around pictures; None for any other node."""
    if node.op_type != "Pad" or node.attributes.get_string("mode", "constant") != "constant":
        return None
    pads = integers(node, 1)
    if pads is None or optional(node, 3) is not None or len(pads) != 8 or len(shape_of(operand(node, 0))) != 4:
        return None
    value = array(optional(node, 2))
    if any(pads[axis] for axis in (0, 1, 4, 5)) or min(pads) < 0:
        return None
    if optional(node, 2) is not None and (value is None or value.astype(np.float64).any()):
        return None
    return pads[2], pads[3], pads[6], pads[7]


def _takes(reader: ir.Node, pad: ir.Node, pads: Pads) -> bool:
    if operand(reader, 0) is not pad.outputs[0] or reader.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    if reader.op_type == "Conv":
        return True
    kernel = reader.attributes.get_ints("kernel_shape", ())
    total = [own + more for own, more in zip(_pads(reader), pads, strict=True)]
    fits = all(size < kernel[index % 2] for index, size in enumerate(total)) if len(kernel) == 2 else False
    return reader.op_type == "MaxPool" and len(reader.outputs) == 1 and fits and _is_non_negative(operand(pad, 0))


def _pads(reader: ir.Node) -> tuple[int, ...]:
    return tuple(reader.attributes.get_ints("pads", (0, 0, 0, 0)))


def _is_non_negative(value: ir.Value) -> bool:
    producer = value.producer()
    if producer is None:
        return False
    low = array(optional(producer, 1)) if producer.op_type == "Clip" else None
    return producer.op_type in NON_NEGATIVE or (low is not None and float(low.astype(np.float64)) >= 0)
