"""Give Conv, ConvTranspose and the pools all their attributes, explicitly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.channel_affine import output_channels
from edgecnn.passes.rewrite import NodePass, array, constant, graph_of, operand, optional, shape_of

Ints = tuple[int, ...]
LAYERS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")


class ExplicitLayerAttributes(NodePass):
    """Write out what ONNX lets a layer leave open.

    Given::

        x -> Conv(auto_pad = SAME_UPPER) -> y

    Result::

        x -> Conv(kernel_shape, strides, pads, dilations, group; bias 0) -> y

    Rules:
        A1. kernel_shape, strides, dilations, group, pads and output_padding get their defaults.
        A2. auto_pad is resolved: SAME_UPPER puts the odd pixel at the end, SAME_LOWER at the start, VALID pads nothing.
        A3. output_shape of a ConvTranspose becomes pads, the odd pixel by auto_pad (ONNX ConvTranspose-11).
        A4. ceil_mode becomes the padding at the end that it implies, where that padding is never counted and no window
            lies in it altogether.
        A5. A Conv or ConvTranspose without a bias gets one of zeros.

    Requires: nothing; only layers on pictures (rank 4) are touched.
    Ensures: auto_pad, output_shape and, where A4 holds, ceil_mode are gone.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply A1 to A5 to one node."""
        if node.op_type not in LAYERS or len(shape_of(operand(node, 0))) != 4:
            return False
        before = dict(node.attributes)
        _write(node)
        modified = before != dict(node.attributes)
        if node.op_type.startswith("Conv"):
            modified |= _add_bias(node)
        return modified


def _write(node: ir.Node) -> None:
    attributes, convolves = node.attributes, node.op_type.startswith("Conv")
    kernel = shape_of(operand(node, 1))[2:] if convolves else tuple(attributes["kernel_shape"].as_ints())
    strides, dilations = (tuple(attributes.get_ints(name, (1, 1))) for name in ("strides", "dilations"))
    resolve = _transposed_pads if node.op_type == "ConvTranspose" else _pads
    wanted = {"kernel_shape": kernel, "strides": strides, "pads": resolve(node, kernel, strides, dilations)}
    if node.op_type != "AveragePool":  # which has no dilations before opset 19
        wanted["dilations"] = dilations
    if node.op_type == "ConvTranspose":
        wanted["output_padding"] = tuple(attributes.get_ints("output_padding", (0, 0)))
    for name, value in wanted.items():
        attributes.add(ir.AttrInt64s(name, value))
    if convolves:
        attributes.add(ir.AttrInt64("group", attributes.get_int("group", 1)))
    for name in ("auto_pad", "output_shape"):
        attributes.pop(name, None)


def _pads(node: ir.Node, kernel: Ints, strides: Ints, dilations: Ints) -> Ints:
    """Apply A2 and A4 to a Conv or a pool."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    pads = tuple(node.attributes.get_ints("pads", (0, 0, 0, 0)))
    size, out = shape_of(operand(node, 0))[2:], shape_of(node.outputs[0])[2:]
    span = [dilation * (k - 1) + 1 for k, dilation in zip(kernel, dilations, strict=True)]
    needed = [max(0, (o - 1) * s + w - i) for o, s, w, i in zip(out, strides, span, size, strict=True)]
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return split_padding(needed, odd_at_end=mode == "SAME_UPPER")
    if node.attributes.get_int("ceil_mode", 0) and not node.attributes.get_int("count_include_pad", 0):
        ends = [max(pads[2 + axis], needed[axis] - pads[axis]) for axis in (0, 1)]
        if all(end < k for end, k in zip(ends, kernel, strict=True)):
            node.attributes.pop("ceil_mode", None)
            return pads[0], pads[1], ends[0], ends[1]
    if needed == [pads[0] + pads[2], pads[1] + pads[3]] or not node.attributes.get_int("ceil_mode", 0):
        node.attributes.pop("ceil_mode", None)
    return pads


def _transposed_pads(node: ir.Node, kernel: Ints, strides: Ints, dilations: Ints) -> Ints:
    """Apply A2 and A3 to a ConvTranspose."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        return tuple(node.attributes.get_ints("pads", (0, 0, 0, 0)))
    if mode == "VALID":
        return 0, 0, 0, 0
    size, out = shape_of(operand(node, 0))[2:], shape_of(node.outputs[0])[2:]
    extra = tuple(node.attributes.get_ints("output_padding", (0, 0)))
    total = [
        max(0, strides[a] * (size[a] - 1) + extra[a] + (kernel[a] - 1) * dilations[a] + 1 - out[a]) for a in (0, 1)
    ]
    return split_padding(total, odd_at_end=mode == "SAME_UPPER")


def split_padding(total: list[int], odd_at_end: bool) -> Ints:
    """Split the padding of each axis between start and end; ONNX order top, left, bottom, right."""
    small, large = [size // 2 for size in total], [size - size // 2 for size in total]
    first, last = (small, large) if odd_at_end else (large, small)
    return first[0], first[1], last[0], last[1]


def _add_bias(node: ir.Node) -> bool:
    if optional(node, 2) is not None or array(operand(node, 1)) is None:
        return False
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    zeros = np.zeros(output_channels(node), np.float32)
    node.replace_input_with(2, constant(graph_of(node), f"{node.name}/bias", zeros))
    return True
