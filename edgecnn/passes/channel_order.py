"""Spell channels in another order as weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.passes.channel_affine import parameters, set_parameters
from edgecnn.passes.rewrite import (
    NodePass,
    absorb,
    array,
    constant,
    graph_of,
    integers,
    operand,
    replace,
    shape_of,
    sole_reader,
    substitute,
)

Indices = npt.NDArray[np.int64]
ONES = (1, 1)


class ChannelOrderToWeights(NodePass):
    """Turn the selection of channels of a picture into weights.

    Given::

        x [1, C, H, W] -> Gather(2, 1, 0 along 1) -> Conv(W) -> y

    Result::

        x [1, C, H, W] -> Conv(W[:, (2, 1, 0)]) -> y

    Rules:
        V1. Gather along axis 1 with constant indices, and Slice that goes backwards along axis 1, on rank 4.
        V2. Before a Conv with one group and a constant weight that alone reads it, the Conv's weight takes the order;
            channels that are selected twice add up. Padding is zero in any order, so this is exact.
        V3. Else it becomes a 1x1 Conv with a weight of zeros and ones, which later folds can use.

    Requires: `CutsToSlice` has made Slices of what is evenly spaced upwards.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply V1 to V3 to one node."""
        indices = _selected(node)
        if indices is None:
            return False
        value = operand(node, 0)
        conv = sole_reader(node.outputs[0])
        values = parameters(conv) if conv is not None and _takes_any_order(conv, node) else None
        selection = np.eye(shape_of(value)[1])[indices]
        if conv is not None and values is not None:
            set_parameters(conv, np.einsum("oikl,ic->ockl", values[0], selection), values[1])
            absorb(conv, node)
            replace(node, value)
        else:
            _to_conv(node, selection)
        return True


def _selected(node: ir.Node) -> Indices | None:
    """Return the channels that ``node`` selects, None if it does something else (V1)."""
    if node.op_type not in ("Gather", "Slice") or node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    shape = shape_of(operand(node, 0))
    if len(shape) != 4 or len(shape_of(node.outputs[0])) != 4:
        return None
    return _gathered(node, shape) if node.op_type == "Gather" else _backwards(node, shape)


def _gathered(node: ir.Node, shape: tuple[int, ...]) -> Indices | None:
    indices = array(node.inputs[1])
    if indices is None or indices.ndim != 1 or node.attributes.get_int("axis", 0) % 4 != 1:
        return None
    return indices.astype(np.int64) % shape[1]


def _backwards(node: ir.Node, shape: tuple[int, ...]) -> Indices | None:
    starts, ends, steps = integers(node, 1), integers(node, 2), integers(node, 4)
    if starts is None or ends is None or steps is None or len(starts) != 1 or steps[0] > 0:
        return None
    axes = integers(node, 3) or (0,)
    if axes[0] % 4 != 1:
        return None
    return np.arange(shape[1])[slice(starts[0], ends[0] if ends[0] >= -shape[1] else None, steps[0])]


def _takes_any_order(conv: ir.Node, node: ir.Node) -> bool:
    data = operand(conv, 0) is node.outputs[0]
    return conv.op_type == "Conv" and data and conv.attributes.get_int("group", 1) == 1


def _to_conv(node: ir.Node, selection: npt.NDArray[np.float64]) -> None:
    graph = graph_of(node)
    weight = constant(graph, f"{node.name}/weight", selection[:, :, None, None].astype(np.float32))
    bias = constant(graph, f"{node.name}/bias", np.zeros(len(selection), np.float32))
    window = {"kernel_shape": ONES, "strides": ONES, "pads": (0, 0, 0, 0), "dilations": ONES}
    substitute(node, "Conv", [operand(node, 0), weight, bias], {**window, "group": 1})
