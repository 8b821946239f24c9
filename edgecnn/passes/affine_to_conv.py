"""Spell the per-channel affine maps that found no layer to merge into."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.channel_affine import ChannelAffine, merge_into_producer, why_not_into_producer
from edgecnn.passes.fold_affine import affine_of
from edgecnn.passes.fold_batch_norm import batch_norm_affine
from edgecnn.passes.rewrite import (
    NodePass,
    array,
    constant,
    graph_of,
    insert,
    operand,
    replace,
    shape_of,
    sole_reader,
    substitute,
)

ONES = (1, 1)


class AffineToConv(NodePass):
    """Turn what is left of batch normalisation, scale and shift into a depthwise 1x1 Conv.

    Given::

        x [N, C, H, W] -> BatchNormalization -> y

    Result::

        x [N, C, H, W] -> Conv(W [C, 1, 1, 1], b [C], group = C) -> y

    Rules:
        D1. On pictures (rank 4), for BatchNormalization and for Mul, Add and Sub with a constant per channel. A 1x1
            Conv never pads, so this is exact.
        D2. Directly behind a layer that only it reads, so behind one made by D1, the map merges into that layer.
        D3. A number alone, one for all channels and with no other such map behind it, stays Mul, Add or Sub.
        D4. On other ranks BatchNormalization becomes Mul and Add with constants; Mul, Add and Sub stay.

    Requires: `FoldBatchNorm` and `FoldAffine` have merged what can be merged.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply D1 to D4 to one node."""
        normalisation = node.op_type == "BatchNormalization"
        affine = batch_norm_affine(node) if normalisation else affine_of(node)
        if affine is None:
            return False
        if why_not_into_producer(node) is None:
            merge_into_producer(node, affine)
            replace(node, operand(node, 0))
        elif not normalisation and _stands_alone(node):
            return False
        elif len(shape_of(operand(node, 0))) == 4:
            _to_conv(node, affine)
        elif normalisation:
            _to_constants(node, affine)
        else:
            return False
        return True


def _stands_alone(node: ir.Node) -> bool:
    content, reader = array(node.inputs[1]), sole_reader(node.outputs[0])
    followed = reader is not None and (affine_of(reader) is not None or reader.op_type == "BatchNormalization")
    return content is not None and content.size == 1 and not followed


def _to_conv(node: ir.Node, affine: ChannelAffine) -> None:
    graph, channels = graph_of(node), affine.scale.size
    weight = constant(graph, f"{node.name}/weight", affine.scale.reshape(-1, 1, 1, 1).astype(np.float32))
    bias = constant(graph, f"{node.name}/bias", affine.shift.astype(np.float32))
    window = {"kernel_shape": ONES, "strides": ONES, "pads": (0, 0, 0, 0), "dilations": ONES}
    substitute(node, "Conv", [operand(node, 0), weight, bias], {**window, "group": channels})


def _to_constants(node: ir.Node, affine: ChannelAffine) -> None:
    graph, value = graph_of(node), operand(node, 0)
    shape = shape_of(value)
    aligned = (1, -1, *[1] * (len(shape) - 2))
    scale = constant(graph, f"{node.name}/scale", affine.scale.reshape(aligned).astype(np.float32))
    shift = constant(graph, f"{node.name}/shift", affine.shift.reshape(aligned).astype(np.float32))
    substitute(node, "Add", [insert(node, "Mul", [value, scale], shape), shift])
