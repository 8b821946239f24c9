"""ConvTranspose: the gradient of a convolution; x (N,C,H,W), int8 weight (C,O/group,kh,kw), int32 bias (O,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.affine import multiplier, requantise
from edgecnn.ops import CHANNELS_LAST, Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "own"
OPERANDS = 3
WEIGHT_AXIS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Spell out every default of ONNX ConvTranspose."""
    return {
        "strides": node.ints("strides", (1, 1)),
        "pads": node.ints("pads", (0, 0, 0, 0)),
        "output_padding": node.ints("output_padding", (0, 0)),
        "dilations": node.ints("dilations", (1, 1)),
        "group": node.integer("group", 1),
    }


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Scatter every input pixel through the kernel, crop the pads, add the bias, requantise."""
    x, weight, bias = inputs
    total = _scatter(node, x.offset(), weight.values.astype(np.float64))
    top, left, _, _ = node.ints("pads")
    height, width = output.shape[2:]
    total = total[:, :, top : top + height, left : left + width] + bias.values.reshape(1, -1, 1, 1)
    scale = multiplier(x.grid, weight.grid, output.grid).reshape(1, -1, 1, 1)
    return requantise(total, scale, output.grid.zero_point)


def _scatter(node: IntegerNode, x: Array, weight: Array) -> Array:
    (step_h, step_w), (gap_h, gap_w) = node.ints("strides"), node.ints("dilations")
    extra_h, extra_w = node.ints("output_padding")
    batch, channels, height, width = x.shape
    group, per_group = node.integer("group"), weight.shape[1]
    kernel_h, kernel_w = weight.shape[2:]
    full_h = (height - 1) * step_h + (kernel_h - 1) * gap_h + 1 + extra_h
    full_w = (width - 1) * step_w + (kernel_w - 1) * gap_w + 1 + extra_w
    total = np.zeros((batch, group, per_group, full_h, full_w), np.float64)
    grouped = x.astype(np.float64).reshape(batch, group, channels // group, height, width)
    kernels = weight.reshape(group, channels // group, per_group, kernel_h, kernel_w)
    for row in range(kernel_h):
        for column in range(kernel_w):
            part = np.einsum("ngchw,gco->ngohw", grouped, kernels[..., row, column], optimize=True)
            rows = slice(row * gap_h, row * gap_h + (height - 1) * step_h + 1, step_h)
            columns = slice(column * gap_w, column * gap_w + (width - 1) * step_w + 1, step_w)
            total[..., rows, columns] += part
    return total.reshape(batch, group * per_group, full_h, full_w)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write DequantizeLinear -> ConvTranspose -> QuantizeLinear."""
    value = writer.emit(
        "ConvTranspose",
        [writer.real(name) for name in node.inputs],
        kernel_shape=writer.graph.spec(node.inputs[1]).shape[2:],
        strides=node.ints("strides"),
        pads=node.ints("pads"),
        output_padding=node.ints("output_padding"),
        dilations=node.ints("dilations"),
        group=node.integer("group"),
    )
    writer.quantise(node, value)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write TRANSPOSE_CONV with bias; zero taps around the kernel put SAME or VALID padding where the pads are.

    TFLite crops half of the surplus, rounded down, in front. A zero tap in front of the kernel moves the crop by one,
    a zero tap behind it enlarges the surplus, so that every usual crop is reached without a SLICE.
    """
    x, channels = writer.features(node.inputs[0])
    kernel = _dense(node, writer.graph.constants[node.inputs[1]], len(channels))[channels]
    output = writer.graph.spec(node.output).shape
    fits = [_taps(node, writer, kernel.shape[2:], axis) for axis in (0, 1)]
    padding = next((name for name in ("VALID", "SAME") if all(name in fit for fit in fits)), None)
    if padding is not None:
        kernel = np.pad(kernel, ((0, 0), (0, 0), fits[0][padding], fits[1][padding]))
        size = output[2:]
    else:
        kernel, size = _uncropped(node, writer, kernel)
    shape = (output[0], *size, output[1])
    inputs = [
        writer.constant(np.asarray(shape, np.int32)),
        writer.parameter(node.inputs[1], kernel.transpose(1, 2, 3, 0), 0),
        x,
        writer.parameter(node.inputs[2], writer.graph.constants[node.inputs[2]], 0),
    ]
    stride_h, stride_w = node.ints("strides")
    options: dict[str, Attribute] = {"padding": padding or "VALID", "stride_h": stride_h, "stride_w": stride_w}
    if padding is not None:
        writer.write(node, "TRANSPOSE_CONV", inputs, CHANNELS_LAST, **options)
        return
    whole = writer.emit("TRANSPOSE_CONV", inputs, shape, node.output, **options)
    top, left, _, _ = node.ints("pads")
    begin = writer.constant(np.asarray((0, top, left, 0), np.int32))
    extent = writer.constant(np.asarray([output[axis] for axis in CHANNELS_LAST], np.int32))
    writer.write(node, "SLICE", [whole, begin, extent], CHANNELS_LAST)


def _uncropped(node: IntegerNode, writer: TfliteWriter, kernel: Array) -> tuple[Array, tuple[int, ...]]:
    """Return the kernel with zero taps behind it, and the uncropped output size, in which the crop lies."""
    pads, strides = node.ints("pads"), node.ints("strides")
    inputs, output = (writer.graph.spec(name).shape[2:] for name in (node.inputs[0], node.output))
    full = [(inputs[axis] - 1) * strides[axis] + kernel.shape[2 + axis] for axis in (0, 1)]
    behind = [max(0, pads[axis] + output[axis] - full[axis]) for axis in (0, 1)]
    padded = np.pad(kernel, ((0, 0), (0, 0), (0, behind[0]), (0, behind[1])))
    return padded, tuple(full[axis] + behind[axis] for axis in (0, 1))


def _dense(node: IntegerNode, weight: Array, inputs: int) -> Array:
    """Spread dilated taps over a larger kernel, and the filters of groups over all channels: zeros change nothing."""
    group, (gap_h, gap_w) = node.integer("group"), node.ints("dilations")
    per_group, height, width = weight.shape[1:]
    extent = (gap_h * (height - 1) + 1, gap_w * (width - 1) + 1)
    dense = np.zeros((inputs, group * per_group, *extent), weight.dtype)
    for channel in range(inputs):
        first = channel * group // inputs * per_group
        dense[channel, first : first + per_group, ::gap_h, ::gap_w] = weight[channel]
    return dense


def _taps(node: IntegerNode, writer: TfliteWriter, kernel: Sequence[int], axis: int) -> dict[str, tuple[int, int]]:
    """Return (zero taps in front, behind) of the kernel for each TFLite padding that then crops as the pads do."""
    size, out = (writer.graph.spec(name).shape[2 + axis] for name in (node.inputs[0], node.output))
    stride, crop, extent = node.ints("strides")[axis], node.ints("pads")[axis], kernel[axis]
    fits: dict[str, tuple[int, int]] = {}
    for front in range(2 * extent):
        for back in range(2 * extent + stride):
            surplus = (size - 1) * stride + extent + front + back - out
            if crop == 0 and front == 0 and surplus == 0:
                fits.setdefault("VALID", (front, back))
            if surplus >= 0 and -(-out // stride) == size and surplus // 2 == crop + front:
                fits.setdefault("SAME", (front, back))
    return fits
