"""Give PRelu its slopes in the shape that every target takes."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, array, constant, graph_of, operand, shape_of


class ChannelSlopes(NodePass):
    """Shape the slopes of PRelu to one per channel, or one for all.

    Given::

        x [1, C, H, W] -> PRelu(slope [1, C, 1, 1]) -> y

    Result::

        x [1, C, H, W] -> PRelu(slope [C, 1, 1]) -> y

    Rules:
        Q1. Slopes that vary along axis 1 only get the shape (C, 1, ...), without the batch.
        Q2. One slope for all becomes a scalar of shape (1,).
        Q3. Slopes that vary elsewhere, or are not constant, stay, and are refused later.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply Q1 to Q3 to one node."""
        if node.op_type != "PRelu":
            return False
        slope, shape = array(node.inputs[1]), shape_of(operand(node, 0))
        if slope is None:
            return False
        wanted = (1,) if slope.size == 1 else (shape[1], *[1] * (len(shape) - 2))
        if slope.shape == wanted or slope.size not in (1, shape[1]) or not channels_only(slope.shape, shape):
            return False
        node.replace_input_with(1, constant(graph_of(node), f"{node.name}/slope", slope.reshape(wanted)))
        return True


def channels_only(slope: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Say whether ``slope`` broadcast to ``shape`` varies along axis 1 alone."""
    aligned = (1,) * (len(shape) - len(slope)) + slope
    return all(size == 1 or axis == 1 for axis, size in enumerate(aligned))
