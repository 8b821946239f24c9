"""What every operator means on real numbers, written independently of `edgecnn.ops`: torch in float64, or plain loops.

``REAL[op](node, reals, output_shape)`` gives the exact real result of an operator that rounds, ``MOVES[op](node,
integers, output_shape)`` the exact integers of one that only moves or selects values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch.nn import functional

from edgecnn.integer_graph import Array, IntegerNode

Shape = tuple[int, ...]
Meaning = Callable[[IntegerNode, Sequence[Array], Shape], Array]


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).double()


def padded(x: torch.Tensor, pads: Sequence[int], value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value)


def conv(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    x, weight, bias = (tensor(item) for item in reals)
    x = padded(x, node.ints("pads"))
    strides, dilations = node.ints("strides"), node.ints("dilations")
    return functional.conv2d(x, weight, bias, strides, 0, dilations, node.integer("group")).numpy()


def conv_transpose(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    x, weight, bias = (tensor(item) for item in reals)
    strides, dilations, group = node.ints("strides"), node.ints("dilations"), node.integer("group")
    whole = functional.conv_transpose2d(x, weight, None, strides, 0, 0, group, dilations)
    extra_h, extra_w = node.ints("output_padding")
    top, left, bottom, right = node.ints("pads")
    cropped = functional.pad(whole, (-left, extra_w - right, -top, extra_h - bottom))
    return (cropped + bias.reshape(1, -1, 1, 1)).numpy()


def gemm(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    return functional.linear(*(tensor(item) for item in reals)).numpy()


def average_pool(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    x, kernel, strides, pads = tensor(reals[0]), node.ints("kernel"), node.ints("strides"), node.ints("pads")
    total = functional.avg_pool2d(padded(x, pads), kernel, strides)
    real = functional.avg_pool2d(padded(torch.ones_like(x), pads), kernel, strides)
    return (total / real).numpy()


def reduce_mean(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    return tensor(reals[0]).mean(dim=node.ints("axes"), keepdim=bool(node.integer("keepdims"))).numpy()


def leaky_relu(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    return functional.leaky_relu(tensor(reals[0]), node.number("alpha")).numpy()


def p_relu(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    x, slope = (tensor(item) for item in reals)
    return functional.prelu(x, slope.reshape(-1)).numpy()


def softmax(node: IntegerNode, reals: Sequence[Array], shape: Shape) -> Array:
    return torch.softmax(tensor(reals[0]), node.integer("axis")).numpy()


def position(node: IntegerNode, index: int, length: int, size: int) -> Fraction:
    """Where an output pixel lies in the input, without rounding; source: ONNX Resize."""
    coordinates = node.text("coordinates")
    if coordinates == "half_pixel":
        return Fraction((2 * index + 1) * length, 2 * size) - Fraction(1, 2)
    if coordinates == "align_corners":
        return Fraction(index * (length - 1), size - 1) if size > 1 else Fraction(0)
    return Fraction(index * length, size)


def nearest(node: IntegerNode, at: Fraction) -> int:
    half = Fraction(1, 2)
    return {
        "floor": math.floor(at),
        "ceil": math.ceil(at),
        "round_prefer_floor": math.ceil(at - half),
        "round_prefer_ceil": math.floor(at + half),
    }[node.text("rounding")]


def taps(node: IntegerNode, length: int, size: int) -> Array:
    """Return the matrix (size, length) that resamples one axis."""
    matrix = np.zeros((size, length))
    for index in range(size):
        at = position(node, index, length, size)
        if node.text("mode") == "nearest":
            matrix[index, min(max(nearest(node, at), 0), length - 1)] = 1
            continue
        low = math.floor(at)
        for source, share in ((low, 1 - (at - low)), (low + 1, at - low)):
            matrix[index, min(max(source, 0), length - 1)] += float(share)
    return matrix


def resize(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    rows, columns = (taps(node, values[0].shape[axis], shape[axis]) for axis in (2, 3))
    return np.einsum("ph,nchw,qw->ncpq", rows, values[0].astype(np.float64), columns)


def max_pool(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    x = padded(tensor(values[0]), node.ints("pads"), -math.inf)
    return functional.max_pool2d(x, node.ints("kernel"), node.ints("strides")).numpy()


def reduce_max(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    return torch.amax(tensor(values[0]), node.ints("axes"), bool(node.integer("keepdims"))).numpy()


def cut(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    result = tensor(values[0])
    for axis, bounds in enumerate(zip(node.ints("starts"), node.ints("ends"), node.ints("steps"), strict=True)):
        result = result.index_select(axis, torch.arange(*bounds))
    return result.numpy()


def pad(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    """Look every output pixel's source up along each axis; -1 is the fill."""
    pads, mode, x = node.ints("pads"), node.text("mode"), values[0]
    result = x.astype(np.int64)
    for axis, length in enumerate(x.shape):
        where = np.arange(-pads[axis], length + pads[axis + x.ndim])
        inside = (where >= 0) & (where < length)
        if mode == "reflect":
            where = np.where(where < 0, -where, np.where(where >= length, 2 * (length - 1) - where, where))
        moved = np.take(result, np.clip(where, 0, length - 1), axis=axis)
        if mode == "constant":
            view = inside.reshape([-1 if item == axis else 1 for item in range(x.ndim)])
            moved = np.where(view, moved, node.integer("value"))
        result = moved
    return result


def depth_to_space(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    x, block, depth = values[0], node.integer("blocksize"), shape[1]
    result = np.zeros(shape, np.int64)
    for channel, row, column in np.ndindex(*shape[1:]):
        offset = (row % block) * block + column % block
        source = offset * depth + channel if node.text("mode") == "DCR" else channel * block**2 + offset
        result[:, channel, row, column] = x[:, source, row // block, column // block]
    return result


def arg_max(node: IntegerNode, values: Sequence[Array], shape: Shape) -> Array:
    """The first of equal values, found by counting how many places stay behind their running maximum."""
    x, axis = values[0].astype(np.int64), node.integer("axis")
    reached = np.maximum.accumulate(x, axis=axis) == x.max(axis=axis, keepdims=True)
    return (~reached).sum(axis=axis).reshape(shape)


REAL: dict[str, Meaning] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "Add": lambda node, reals, shape: reals[0] + reals[1],
    "Sub": lambda node, reals, shape: reals[0] - reals[1],
    "Mul": lambda node, reals, shape: reals[0] * reals[1],
    "AveragePool": average_pool,
    "ReduceMean": reduce_mean,
    "Requantize": lambda node, reals, shape: reals[0],
    "LeakyRelu": leaky_relu,
    "PRelu": p_relu,
    "Sigmoid": lambda node, reals, shape: torch.sigmoid(tensor(reals[0])).numpy(),
    "Tanh": lambda node, reals, shape: torch.tanh(tensor(reals[0])).numpy(),
    "Softmax": softmax,
    "Resize": resize,
}

MOVES: dict[str, Meaning] = {
    "Concat": lambda node, values, shape: torch.cat([tensor(v) for v in values], node.integer("axis")).numpy(),
    "Slice": cut,
    "MaxPool": max_pool,
    "ReduceMax": reduce_max,
    "Resize": resize,
    "Clip": lambda node, values, shape: np.minimum(np.maximum(values[0], node.integer("low")), node.integer("high")),
    "Pad": pad,
    "Reshape": lambda node, values, shape: np.asarray(list(values[0].flat)).reshape(shape),
    "Transpose": lambda node, values, shape: tensor(values[0]).permute(node.ints("perm")).numpy(),
    "DepthToSpace": depth_to_space,
    "ArgMax": arg_max,
}
