"""How each operator of the canonical graph is written in OpenVINO: ``lower_max_pool`` is the operator ``MaxPool``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from openvino import opset1
from openvino import opset13 as ops

from edgecnn.integer_graph import Array, IntegerNode
from edgecnn.ops import average_pool, resize

if TYPE_CHECKING:
    from edgecnn.export.openvino.writer import Level, Value, Writer

Reduction = Callable[[Any, Any, bool], Any]

_ADDITIONS = ("Add", "Sub")
# Operators that OpenVINO fuses into a convolution together with an addition behind them.
_FUSED = ("Clip", "LeakyRelu", "Mul", "PRelu", "Requantize", "Sigmoid", "Tanh")
FEW_CHANNELS = 4


def keep_rounding(node: IntegerNode, writer: Writer, value: Value) -> Value:
    """Return ``value``, behind a PRelu of slope 1 where the output of the convolution ``node`` gets to an addition.

    OpenVINO's CPU plugin fuses convolution and addition, and leaves out the rounding of a FakeQuantize that is the
    convolution's first post-operation when an addition and a second FakeQuantize follow. That put 16 to 26 % of the
    elements off by one, 5 to 15 % with a function between convolution and addition. With the PRelu in front the
    FakeQuantize is not the first, and everything is fused as before.

    Source: openvino, src/plugins/intel_cpu/src/dnnl_postops_composer.cpp, "drop rounding one special residual pattern".
    """
    if not writer.leads_to(node.output, _ADDITIONS, _FUSED):
        return value
    return ops.prelu(value, _floats([1.0]))


def lower_conv(node: IntegerNode, writer: Writer) -> None:
    """Write Convolution, or GroupConvolution with weight (group, O/group, C/group, kh, kw)."""
    pads, (group, weight) = node.ints("pads"), _ungrouped(node.integer("group"), writer.graph.constants[node.inputs[1]])
    outputs, x = weight.shape[0], writer.real(node.inputs[0])
    geometry = (list(node.ints("strides")), list(pads[:2]), list(pads[2:]), list(node.ints("dilations")))
    if group == 1:
        value = ops.convolution(x, writer.constant(node.inputs[1], weight, (outputs, 1, 1, 1)), *geometry)
    else:
        blocks = (group, outputs // group)
        kernel = writer.constant(node.inputs[1], weight.reshape(*blocks, *weight.shape[1:]), (*blocks, 1, 1, 1))
        value = ops.group_convolution(x, kernel, *geometry)
    value = writer.calculation(node, value)
    writer.quantise(node, keep_rounding(node, writer, ops.add(value, _bias(node, writer, (1, outputs, 1, 1)))))


def _ungrouped(group: int, weight: Array) -> tuple[int, Array]:
    """Return group and weight of a convolution; a few groups of one channel become one group, with zero taps.

    Of those OpenVINO 2026.4 runs some as an integer matrix product (jit_gemm) that was up to 50 LSB off.
    """
    outputs, per_group, *kernel = weight.shape
    if group == 1 or group * per_group > FEW_CHANNELS or outputs == group:
        return group, weight
    dense = np.zeros((outputs, group * per_group, *kernel), weight.dtype)
    for index in range(group):
        rows = slice(index * outputs // group, (index + 1) * outputs // group)
        dense[rows, index * per_group : (index + 1) * per_group] = weight[rows]
    return 1, dense


def lower_conv_transpose(node: IntegerNode, writer: Writer) -> None:
    """Write ConvolutionBackpropData, or its grouped form with weight (group, C/group, O/group, kh, kw)."""
    group = node.integer("group")
    dense, geometry = _dense(node, writer.graph.constants[node.inputs[1]])
    x, (inputs, per_group, *kernel) = writer.real(node.inputs[0]), dense.shape
    if group == 1:
        weight = writer.constant(node.inputs[1], dense, (1, per_group, 1, 1))
        value = ops.convolution_backprop_data(x, weight, **geometry)
    else:
        blocks = (group, inputs // group)
        along_inputs = writer.graph.spec(node.inputs[1]).grid.axis == 0
        scales = (*blocks, 1, 1, 1) if along_inputs else (1, 1, per_group, 1, 1)
        weight = writer.constant(node.inputs[1], dense.reshape(*blocks, per_group, *kernel), scales)
        value = ops.group_convolution_backprop_data(x, weight, **geometry)
    value = writer.calculation(node, value)
    writer.quantise(node, ops.add(value, _bias(node, writer, (1, group * per_group, 1, 1))))


def _dense(node: IntegerNode, weight: Array) -> tuple[Array, dict[str, list[int]]]:
    """Return the weight of a transposed convolution without dilation or output padding, and no smaller than the stride.

    Zero taps change no result. Without them OpenVINO 2026.4 takes a float kernel that forgets the weights' scales where
    the stride is larger than the kernel, was up to 42 LSB off with dilation, and left what its memory held in some of
    the rows and columns of an output padding that no tap reaches.

    Returns:
        The weight, and the geometry that goes with it: the output that new taps behind the kernel add is cropped again.
    """
    strides, gaps, pads = node.ints("strides"), node.ints("dilations"), node.ints("pads")
    kernel, wanted = (
        weight.shape[2:],
        [more - pad for more, pad in zip(node.ints("output_padding"), pads[2:], strict=True)],
    )
    spread = [gap * (size - 1) + 1 for gap, size in zip(gaps, kernel, strict=True)]
    extent = [max(size, stride, size + more) for size, stride, more in zip(spread, strides, wanted, strict=True)]
    dense = np.zeros((*weight.shape[:2], *extent), weight.dtype)
    dense[:, :, : spread[0] : gaps[0], : spread[1] : gaps[1]] = weight
    behind = [new - size - more for new, size, more in zip(extent, spread, wanted, strict=True)]
    return dense, {"strides": list(strides), "pads_begin": list(pads[:2]), "pads_end": behind}


def lower_gemm(node: IntegerNode, writer: Writer) -> None:
    """Write MatMul with transposed weight."""
    outputs = writer.graph.spec(node.inputs[1]).shape[0]
    rank = len(writer.graph.spec(node.inputs[0]).shape)
    weight = writer.constant(node.inputs[1], None, (outputs, 1))
    value = ops.matmul(writer.real(node.inputs[0]), weight, False, True)
    value = writer.calculation(node, value)
    writer.quantise(node, ops.add(value, _bias(node, writer, (*([1] * (rank - 1)), outputs))))


def _bias(node: IntegerNode, writer: Writer, shape: tuple[int, ...]) -> Value:
    array, scales = writer.graph.constants[node.inputs[2]], writer.graph.spec(node.inputs[2]).grid.scales
    return writer.constant(node.inputs[2], array.reshape(shape), shape if scales.size > 1 else (1,) * len(shape))


def lower_add(node: IntegerNode, writer: Writer) -> None:
    """Write Add."""
    writer.quantise(node, ops.add(*(writer.real(name) for name in node.inputs)))


def lower_sub(node: IntegerNode, writer: Writer) -> None:
    """Write Subtract."""
    writer.quantise(node, ops.subtract(*(writer.real(name) for name in node.inputs)))


def lower_mul(node: IntegerNode, writer: Writer) -> None:
    """Write Multiply."""
    writer.quantise(node, ops.multiply(*(writer.real(name) for name in node.inputs)))


def lower_requantize(node: IntegerNode, writer: Writer) -> None:
    """Write the quantisation, behind a PRelu of slope 1.

    OpenVINO drops a FakeQuantize whose range is that of its input to a step: up to 15 % of the values were one off.

    Source: openvino, src/common/low_precision_transformations/src/eliminate_fake_quantize.cpp.
    """
    writer.quantise(node, ops.prelu(writer.real(node.inputs[0]), _floats([1.0])))


def lower_leaky_relu(node: IntegerNode, writer: Writer) -> None:
    """Write PRelu with one slope."""
    writer.quantise(node, ops.prelu(writer.real(node.inputs[0]), _floats([node.number("alpha")])))


def lower_p_relu(node: IntegerNode, writer: Writer) -> None:
    """Write PRelu; a slope per channel (C,1,1) is 1-D there."""
    slope = writer.constant(node.inputs[1], writer.graph.constants[node.inputs[1]].reshape(-1))
    writer.quantise(node, ops.prelu(writer.real(node.inputs[0]), slope))


def lower_sigmoid(node: IntegerNode, writer: Writer) -> None:
    """Write Sigmoid."""
    writer.quantise(node, ops.sigmoid(writer.real(node.inputs[0])))


def lower_tanh(node: IntegerNode, writer: Writer) -> None:
    """Write Tanh."""
    writer.quantise(node, ops.tanh(writer.real(node.inputs[0])))


def lower_softmax(node: IntegerNode, writer: Writer) -> None:
    """Write Softmax."""
    writer.quantise(node, ops.softmax(writer.real(node.inputs[0]), node.integer("axis")))


def lower_reduce_mean(node: IntegerNode, writer: Writer) -> None:
    """Write ReduceMean."""
    writer.quantise(node, _reduced(node, writer, ops.reduce_mean, writer.real(node.inputs[0])))


def _reduced(node: IntegerNode, writer: Writer, reduction: Reduction, x: Value) -> Value:
    """Reduce one axis with the axis kept, then reshape: OpenVINO 2026.4 swaps axes of size 1 where it is dropped."""
    axes, keepdims = node.ints("axes"), bool(node.integer("keepdims"))
    if keepdims or len(axes) > 1:
        return reduction(x, _integers(axes), keepdims)
    return ops.reshape(reduction(x, _integers(axes), True), _integers(writer.graph.spec(node.output).shape), False)


def lower_average_pool(node: IntegerNode, writer: Writer) -> None:
    """Write AvgPool that does not count padding, on the integers: means of four are often exactly half of a step."""
    pads, shape = node.ints("pads"), writer.graph.spec(node.inputs[0]).shape
    centre = _floats([average_pool.rounding_centre(node, shape, writer.graph.spec(node.output))])
    mean = ops.avg_pool(
        ops.subtract(writer.levels(node.inputs[0]), centre),
        list(node.ints("strides")),
        list(pads[:2]),
        list(pads[2:]),
        list(node.ints("kernel")),
        exclude_pad=True,
    )
    if average_pool.pads_count(node, shape):
        mean = ops.multiply(mean, _floats([average_pool.away_factor(node)]))
    writer.round_levels(node, ops.add(ops.round(mean, "half_to_even"), centre))


def lower_clip(node: IntegerNode, writer: Writer) -> None:
    """Write Clamp, then the quantisation onto the same grid."""
    grid = writer.graph.spec(node.output).grid
    low, high = ((node.integer(key) - grid.zero_point) * grid.scale[0] for key in ("low", "high"))
    writer.quantise(node, ops.clamp(writer.real(node.inputs[0]), low, high))


def lower_resize(node: IntegerNode, writer: Writer) -> None:
    """Write Interpolate: nearest moves integers, bilinear computes new ones.

    Bilinear interpolation works on the integers, as float32, and rounds half up: between pixels lie many values that
    are exactly half of a step, and a factor of the scale would decide at random which way they are rounded.
    """
    if node.text("mode") != "nearest":
        value = _interpolated(node, writer.levels(node.inputs[0]), "linear_onnx", "floor")
        half = resize.half(node, writer.graph.spec(node.inputs[0]).shape[2:])
        writer.round_levels(node, ops.floor(ops.add(value, _floats([half]))))
        return
    lengths = writer.graph.spec(node.inputs[0]).shape[2:]
    if resize.float32_suffices(node, lengths):
        writer.move(node, lambda inputs, level: _interpolated(node, inputs[0], "nearest", node.text("rounding")))
    else:
        pairs = zip(lengths, node.ints("sizes"), strict=True)
        rows, columns = (_integers(resize.nearest_sources(node, *pair).tolist()) for pair in pairs)
        two, three = _integers(2), _integers(3)
        writer.move(node, lambda inputs, level: ops.gather(ops.gather(inputs[0], rows, two), columns, three))


def _interpolated(node: IntegerNode, x: Value, mode: str, rounding: str) -> Value:
    return ops.interpolate(
        x,
        _integers(node.ints("sizes")),
        mode,
        "sizes",
        coordinate_transformation_mode=node.text("coordinates"),
        nearest_mode=rounding,
        axes=_integers((2, 3)),
    )


def lower_max_pool(node: IntegerNode, writer: Writer) -> None:
    """Write MaxPool of opset 1, which has no second output."""
    pads = node.ints("pads")
    geometry = (list(node.ints("strides")), list(pads[:2]), list(pads[2:]), list(node.ints("kernel")))
    writer.move(node, lambda inputs, level: opset1.max_pool(inputs[0], *geometry, "floor"))


def lower_reduce_max(node: IntegerNode, writer: Writer) -> None:
    """Write ReduceMax."""
    writer.move(node, lambda inputs, level: _reduced(node, writer, ops.reduce_max, inputs[0]))


def lower_concat(node: IntegerNode, writer: Writer) -> None:
    """Write Concat."""
    writer.move(node, lambda inputs, level: ops.concat(list(inputs), node.integer("axis")))


def lower_slice(node: IntegerNode, writer: Writer) -> None:
    """Write StridedSlice."""
    bounds = [_integers(node.ints(key)) for key in ("starts", "ends", "steps")]
    masks = [[0] * len(node.ints("starts"))] * 2
    writer.move(node, lambda inputs, level: ops.strided_slice(inputs[0], *bounds, *masks))


def lower_pad(node: IntegerNode, writer: Writer) -> None:
    """Write Pad."""
    pads, mode = node.ints("pads"), node.text("mode")
    rank = len(pads) // 2
    begin, end = _integers(pads[:rank]), _integers(pads[rank:])

    def pad(x: Value, level: Level) -> Value:
        fill = level(node.integer("value")) if mode == "constant" else None
        return ops.pad(x, begin, end, mode, fill)

    writer.move(node, lambda inputs, level: pad(inputs[0], level))


def lower_reshape(node: IntegerNode, writer: Writer) -> None:
    """Write Reshape."""
    shape = _integers(node.ints("shape"))
    writer.move(node, lambda inputs, level: ops.reshape(inputs[0], shape, False))


def lower_transpose(node: IntegerNode, writer: Writer) -> None:
    """Write Transpose."""
    order = _integers(node.ints("perm"))
    writer.move(node, lambda inputs, level: ops.transpose(inputs[0], order))


def lower_depth_to_space(node: IntegerNode, writer: Writer) -> None:
    """Write DepthToSpace: DCR is blocks first, CRD depth first."""
    mode = "blocks_first" if node.text("mode") == "DCR" else "depth_first"
    writer.move(node, lambda inputs, level: ops.depth_to_space(inputs[0], mode, node.integer("blocksize")))


def lower_arg_max(node: IntegerNode, writer: Writer) -> None:
    """Write TopK with k = 1, stable: the first of equal values wins."""
    axis = node.integer("axis")
    best = ops.topk(writer.real(node.inputs[0]), _integers(1), axis, "max", "value", "i64", stable=True)
    shape = _integers(writer.graph.spec(node.output).shape)
    writer.indices(node, ops.reshape(best.output(1), shape, False))


def _floats(values: list[float]) -> Value:
    return ops.constant(np.asarray(values, np.float32))


def _integers(values: int | tuple[int, ...]) -> Value:
    return ops.constant(np.asarray(values, np.int64))
