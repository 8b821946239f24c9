"""The operators of the integer graph in torch, on real values, so that gradients flow through them.

Each function takes the node and its operands as real tensors, and returns the real result before it is put on its grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgecnn.integer_graph import IntegerNode
from edgecnn.ops.resize import resample

Function = Callable[..., Tensor]


def _around(node: IntegerNode) -> tuple[int, int, int, int]:
    """Return pads (top, left, bottom, right) in torch's order (left, right, top, bottom)."""
    top, left, bottom, right = node.ints("pads")
    return left, right, top, bottom


def _conv(node: IntegerNode, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = functional.pad(x, _around(node)) if any(node.ints("pads")) else x
    strides, dilations = node.ints("strides"), node.ints("dilations")
    return functional.conv2d(padded, weight, bias, strides, 0, dilations, node.integer("group"))


def _conv_transpose(node: IntegerNode, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    strides, dilations, extra = node.ints("strides"), node.ints("dilations"), node.ints("output_padding")
    full = functional.conv_transpose2d(x, weight, bias, strides, 0, 0, node.integer("group"), dilations)
    left, right, top, bottom = _around(node)
    # What lies beyond the last tap is the bias alone.
    full = torch.cat([full, bias.reshape(1, -1, 1, 1).expand(-1, -1, extra[0], full.shape[3])], 2)
    full = torch.cat([full, bias.reshape(1, -1, 1, 1).expand(-1, -1, full.shape[2], extra[1])], 3)
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def _max_pool(node: IntegerNode, x: Tensor) -> Tensor:
    padded = functional.pad(x, _around(node), value=-torch.inf)
    return functional.max_pool2d(padded, node.ints("kernel"), node.ints("strides"))


def _average_pool(node: IntegerNode, x: Tensor) -> Tensor:
    kernel, strides = node.ints("kernel"), node.ints("strides")
    present = functional.pad(torch.ones_like(x[:1, :1]), _around(node))
    share = functional.avg_pool2d(present, kernel, strides)
    return functional.avg_pool2d(functional.pad(x, _around(node)), kernel, strides) / share


def _reduce_mean(node: IntegerNode, x: Tensor) -> Tensor:
    return x.mean(node.ints("axes"), bool(node.integer("keepdims")))


def _reduce_max(node: IntegerNode, x: Tensor) -> Tensor:
    return x.amax(node.ints("axes"), bool(node.integer("keepdims")))


def _resize(node: IntegerNode, x: Tensor) -> Tensor:
    height, width = node.ints("sizes")
    rows, columns = (
        torch.from_numpy(resample(node, np.eye(length, dtype=np.float32), 0, size)).float()
        for length, size in ((x.shape[2], height), (x.shape[3], width))
    )
    return torch.matmul(torch.matmul(rows, x), columns.T)


def _slice(node: IntegerNode, x: Tensor) -> Tensor:
    bounds = zip(node.ints("starts"), node.ints("ends"), node.ints("steps"), strict=True)
    return x[tuple(slice(start, end, step) for start, end, step in bounds)]


def _pad(node: IntegerNode, x: Tensor) -> Tensor:
    pads, rank = node.ints("pads"), x.ndim
    pairs = [pads[axis + offset] for axis in reversed(range(rank)) for offset in (0, rank)]
    mode = node.text("mode")
    if mode == "constant":
        return functional.pad(x, pairs, value=node.number("value"))
    return functional.pad(x, pairs[: 2 * (rank - 2)], "reflect" if mode == "reflect" else "replicate")


def _depth_to_space(node: IntegerNode, x: Tensor) -> Tensor:
    if node.text("mode") == "CRD":
        return functional.pixel_shuffle(x, node.integer("blocksize"))
    batch, channels, height, width = x.shape
    block = node.integer("blocksize")
    blocks = x.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(batch, channels // block**2, height * block, width * block)


FUNCTIONS: Mapping[str, Function] = {
    "Add": lambda node, a, b: a + b,
    "AveragePool": _average_pool,
    "Clip": lambda node, x: x.clamp(node.number("low"), node.number("high")),
    "Concat": lambda node, *parts: torch.cat(parts, node.integer("axis")),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Gemm": lambda node, x, weight, bias: functional.linear(x, weight, bias),
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.number("alpha")),
    "MaxPool": _max_pool,
    "Mul": lambda node, a, b: a * b,
    "PRelu": lambda node, x, slope: torch.where(x >= 0, x, x * slope),
    "Pad": _pad,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
    "Requantize": lambda node, x: x,
    "Reshape": lambda node, x: x.reshape(node.ints("shape")),
    "Resize": _resize,
    "Sigmoid": lambda node, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": lambda node, x: torch.softmax(x, node.integer("axis")),
    "Sub": lambda node, a, b: a - b,
    "Tanh": lambda node, x: torch.tanh(x),
    "Transpose": lambda node, x: x.permute(node.ints("perm")),
}
"""By operator. ArgMax has no gradient and is not here."""
