"""Spell a ConvTranspose in groups as a dense one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.channel_affine import output_channels
from edgecnn.passes.rewrite import Array, NodePass, array, constant, graph_of, operand


class TransposedGroupsToDense(NodePass):
    """Let every group of a ConvTranspose read all channels, those of other groups with weights of zero.

    Given::

        x [N, C, ...] -> ConvTranspose(W [C, M / g, ...], group = g) -> y [N, M, ...]

    Result::

        x [N, C, ...] -> ConvTranspose(W' [C, M, ...], group = 1) -> y [N, M, ...]

    Rules:
        G1. Only with a constant weight, and not where each channel is a group of its own that makes one channel: that
            depthwise layer has an integer form.
        G2. Row c of W' is zero but for the M / g columns of the group of c: exact, at g times the multiplications.
            One layer then keeps one clamp and one grid, where slices and a Concat would share one among all groups.

    Requires: nothing.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply G1 and G2 to one node."""
        groups = node.attributes.get_int("group", 1)
        weight = array(operand(node, 1)) if node.op_type == "ConvTranspose" else None
        if weight is None or groups == 1 or (groups == weight.shape[0] and weight.shape[1] == 1):
            return False
        dense = _dense(weight, groups, output_channels(node))
        node.replace_input_with(1, constant(graph_of(node), f"{node.name}/dense", dense))
        node.attributes.add(ir.AttrInt64("group", 1))
        return True


def _dense(weight: Array, groups: int, columns: int) -> Array:
    rows, width = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], columns, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        dense[own, group * width : (group + 1) * width] = weight[own]
    return dense
