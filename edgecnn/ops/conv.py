"""Conv: 2-D convolution of x (N,C,H,W) with int8 weight (O,C/group,kh,kw) and int32 bias (O,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import multiplier, requantise
from edgecnn.ops import CHANNELS_LAST, Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.windows import convolve, pad_map

GRID = "own"
OPERANDS = 3
WEIGHT_AXIS = 0


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Spell out every default of ONNX Conv."""
    pads = node.ints("pads", (0, 0, 0, 0))
    strides, dilations = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    return {"strides": strides, "pads": pads, "dilations": dilations, "group": node.integer("group", 1)}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Sum exactly, add the bias, requantise. Padding holds the zero point, which is real 0."""
    x, weight, bias = inputs
    padded = pad_map(x.offset(), node.ints("pads"), 0).astype(np.int32)
    group, strides, dilations = node.integer("group"), node.ints("strides"), node.ints("dilations")
    total = convolve(padded, weight.values.astype(np.int8), strides, dilations, group)
    total += bias.values.reshape(1, -1, 1, 1)
    scale = multiplier(x.grid, weight.grid, output.grid).reshape(1, -1, 1, 1)
    return requantise(total, scale, output.grid.zero_point)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> Conv -> QuantizeLinear, which runtimes fuse to one integer convolution."""
    kernel = writer.graph.spec(node.inputs[1]).shape[2:]
    value = writer.emit(
        "Conv",
        [writer.real(name) for name in node.inputs],
        kernel_shape=kernel,
        strides=node.ints("strides"),
        pads=node.ints("pads"),
        dilations=node.ints("dilations"),
        group=node.integer("group"),
    )
    writer.quantise(node, value)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write CONV_2D, or DEPTHWISE_CONV_2D where every channel has its own filters."""
    group, out = node.integer("group"), writer.channels(node)
    weight, bias = (writer.graph.constants[name][out] for name in node.inputs[1:])
    if group == 1:
        x, channels = writer.features(node.inputs[0])
        weight = weight[:, channels]
    else:
        x = writer.read(node.inputs[0], CHANNELS_LAST)
    x, padding = writer.window(node, x, weight.shape[2:], node.ints("dilations"))
    depthwise = weight.shape[1] == 1 and group > 1
    axis, layout = (3, (1, 2, 3, 0)) if depthwise else (0, (0, 2, 3, 1))
    parameters = [
        writer.parameter(node.inputs[1], weight.transpose(layout), axis, out),
        writer.parameter(node.inputs[2], bias, 0, out),
    ]
    steps = _tflite_steps(node)
    if depthwise:
        steps["depth_multiplier"] = len(weight) // group
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    writer.write(node, kind, [x, *parameters], CHANNELS_LAST, padding=padding, **steps)


def _tflite_steps(node: IntegerNode) -> dict[str, Attribute]:
    (stride_h, stride_w), (dilation_h, dilation_w) = node.ints("strides"), node.ints("dilations")
    return {
        "stride_h": stride_h,
        "stride_w": stride_w,
        "dilation_h_factor": dilation_h,
        "dilation_w_factor": dilation_w,
        "fused_activation_function": "NONE",
    }
