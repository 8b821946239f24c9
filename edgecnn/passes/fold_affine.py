"""Fold per-channel scales and shifts into the layers around them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.channel_affine import (
    F64,
    ChannelAffine,
    merge_into_producer,
    merge_into_readers,
    why_not_into_producer,
    why_not_into_readers,
)
from edgecnn.passes.rewrite import NodePass, array, operand, replace, shape_of


class FoldAffine(NodePass):
    """Merge Mul, Add and Sub with a constant per channel into the layer before, else into the layers behind.

    Given::

        x -> Conv(W, b) -> Mul(s [1, C, 1, 1]) -> Add(t [1, C, 1, 1]) -> y

    Result::

        x -> Conv(W * s, b * s + t) -> y

    Rules:
        L1. A constant is per channel when it varies along axis 1 only and does not enlarge the result.
        L2. Into the producer and into the readers under the rules of `channel_affine`.
        L3. What is left becomes a depthwise 1x1 Conv later (see `AffineToConv`).

    Requires: the constant stands second in Mul and Add (see `ArithmeticToAddMul`); no Div by a constant.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply L1 and L2 to one node."""
        affine = affine_of(node)
        if affine is None:
            return False
        if why_not_into_producer(node) is None:
            merge_into_producer(node, affine)
        elif why_not_into_readers(node, affine) is None:
            merge_into_readers(node, affine)
        else:
            return False
        replace(node, operand(node, 0))
        return True


def affine_of(node: ir.Node) -> ChannelAffine | None:
    """Return the map that a Mul, Add or Sub with a constant second operand stands for; None for any other node."""
    if node.op_type not in ("Mul", "Add", "Sub") or array(node.inputs[0]) is not None:
        return None
    values = per_channel(node)
    if values is None:
        return None
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    if node.op_type == "Mul":
        return ChannelAffine(values, zeros)
    return ChannelAffine(ones, values if node.op_type == "Add" else -values)


def per_channel(node: ir.Node) -> F64 | None:
    """Return the constant second operand as float64 (channels,); None if it is computed, or not per channel (L1)."""
    shape, content = shape_of(operand(node, 0)), array(node.inputs[1])
    if content is None or len(shape) < 2 or shape_of(node.outputs[0]) != shape or content.ndim > len(shape):
        return None
    aligned = content.astype(np.float64).reshape((1,) * (len(shape) - content.ndim) + content.shape)
    if any(size != 1 for axis, size in enumerate(aligned.shape) if axis != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(aligned.reshape(-1), (shape[1],)))
