"""Pooling windows: those that TFLite's SAME and VALID do not reach, and averages that XNNPACK does not take.

Padding never counts in a pool, neither here nor in TFLite's SAME. So a pool of any stride whose pads are those of SAME
with stride 1 is that pool, followed by a 1x1 pool that only takes every stride-th pixel: exact, of operators that every
accelerator has.

AVERAGE_POOL_2D on int8 is no operator of XNNPACK, and the builtin kernel rounds ties away from zero (3x3: 7 % of the
values one off, 2x2: 11 %). Without padding an average is a depthwise convolution with weights 1 and scale 1 / count,
which XNNPACK takes and rounds as the integer graph does (0 off).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.export.tflite.geometry import Window, padding_of
from edgecnn.integer_graph import Attribute, IntegerNode
from edgecnn.ops import CHANNELS_LAST
from edgecnn.tensor import QuantParams

if TYPE_CHECKING:
    from edgecnn.export.tflite.writer import Writer


def write_pool(writer: Writer, node: IntegerNode, op: str) -> None:
    """Write a MAX_POOL_2D or AVERAGE_POOL_2D.

    Rules, the first that is exact is taken:

    1. SAME or VALID as it is, a VALID average as depthwise convolution.
    2. A maximum on a grid whose zero point is its lowest integer: PAD (which pads with the zero point) and VALID.
    3. SAME with stride 1, then every stride-th pixel.
    4. A maximum on any grid: PADV2 with the lowest integer and VALID; the Edge TPU does not map PADV2.
    """
    x = writer.read(node.inputs[0], CHANNELS_LAST)
    kernel, strides = node.ints("kernel"), node.ints("strides")
    pair = writer.windows(node, x, kernel)
    padding, highest = padding_of(pair), op == "MAX_POOL_2D"
    zero_point = writer.graph.spec(node.output).grid.zero_point
    if padding is None and highest and zero_point == 0:
        x, padding = writer.window(node, x, kernel)
    if padding is None and _subsampled(pair):
        dense = writer.emit(op, [x], writer.shape(x), node.inputs[0], padding="SAME", **_window(kernel, (1, 1)))
        x, kernel, padding = dense, (1, 1), "VALID"
    if padding is None and highest:
        x, padding = _lowest(writer, node, x, pair), "VALID"
    if padding is None:
        writer.refuse(node, f"TFLite cannot place average windows with pads {node.ints('pads')}.", "Pad symmetrically.")
        return
    if padding == "VALID" and not highest and kernel != (1, 1):
        _write_average(writer, node, x)
        return
    writer.write(node, op, [x], CHANNELS_LAST, padding=padding, **_window(kernel, strides))


def _write_average(writer: Writer, node: IntegerNode, x: str) -> None:
    kernel, (stride_h, stride_w) = node.ints("kernel"), node.ints("strides")
    channels = writer.shape(x)[3]
    scale = 1 / (kernel[0] * kernel[1])
    weight = writer.constant(np.ones((1, *kernel, channels), np.int8), QuantParams.per_tensor(scale))
    grid = writer.graph.spec(node.inputs[0]).grid
    bias = writer.constant(np.zeros(channels, np.int32), QuantParams.per_tensor(grid.scale[0] * scale))
    options: dict[str, Attribute] = {
        "padding": "VALID",
        "stride_h": stride_h,
        "stride_w": stride_w,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
        "depth_multiplier": 1,
        "fused_activation_function": "NONE",
    }
    writer.write(node, "DEPTHWISE_CONV_2D", [x, weight, bias], CHANNELS_LAST, **options)


def _window(kernel: Sequence[int], strides: Sequence[int]) -> dict[str, Attribute]:
    return {
        "filter_height": kernel[0],
        "filter_width": kernel[1],
        "stride_h": strides[0],
        "stride_w": strides[1],
        "fused_activation_function": "NONE",
    }


def _subsampled(pair: tuple[Window, Window]) -> bool:
    """Say whether every stride-th window of SAME with stride 1 is a window of this pool, and none is left over."""
    return all(
        window.begin == (window.extent - 1) // 2 and window.out == (window.size - 1) // window.stride + 1
        for window in pair
    )


def _lowest(writer: Writer, node: IntegerNode, x: str, pair: tuple[Window, Window]) -> str:
    table = np.asarray([[0, 0], *([window.begin, window.end] for window in pair), [0, 0]], np.int32)
    shape = [size + int(pads.sum()) for size, pads in zip(writer.shape(x), table, strict=True)]
    fill = writer.constant(np.asarray([-128], np.int8), writer.file.tensors[x].quant)
    return writer.emit("PADV2", [x, writer.constant(table), fill], shape, node.inputs[0])
