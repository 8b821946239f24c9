"""Sliding windows over NCHW maps: output sizes, padding, and views that make convolution a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


_EXACT_TERMS = 2**24 // (255 * 128)


def output_size(size: int, kernel: int, stride: int, pad_begin: int, pad_end: int, dilation: int = 1) -> int:
    """Return ``floor((size + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride) + 1``.

    Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 15.
    """
    return (size + pad_begin + pad_end - dilation * (kernel - 1) - 1) // stride + 1


def pad_map(values: Array, pads: Sequence[int], fill: float) -> Array:
    """Pad an NCHW map; ``pads`` is (top, left, bottom, right)."""
    top, left, bottom, right = pads
    if not any(pads):
        return values
    return np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)


def windows(values: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int] = (1, 1)) -> Array:
    """Return a view of shape (N, C, out_h, out_w, kernel_h, kernel_w) on an already padded NCHW map."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(values, extent, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def convolve(
    values: npt.NDArray[np.int32],
    weight: npt.NDArray[np.int8],
    strides: Sequence[int],
    dilations: Sequence[int],
    group: int,
) -> npt.NDArray[np.float64]:
    """Convolve an already padded int32 map (N, C, H, W) with int8 ``weight`` (O, C/group, kh, kw), exactly.

    The values lie in -255 .. 255.
    """
    view = windows(values.astype(np.float32), weight.shape[2:], strides, dilations)
    if weight.shape[1] == 1 and weight.shape[0] == group:
        return _depthwise(view, weight[:, 0])
    return np.stack([_convolve_one(picture, weight, group) for picture in view])


def _convolve_one(view: Array, weight: npt.NDArray[np.int8], group: int) -> npt.NDArray[np.float64]:
    """Convolve one picture, given as windows (C, out_h, out_w, kh, kw), group by group."""
    height, width = view.shape[1:3]
    columns = view.transpose(0, 3, 4, 1, 2).reshape(group, -1, height * width)
    kernels = weight.reshape(group, weight.shape[0] // group, -1)
    parts = [exact_product(kernel, column) for kernel, column in zip(kernels, columns, strict=True)]
    return np.concatenate(parts).reshape(-1, height, width)


def exact_product(left: Array, right: Array) -> npt.NDArray[np.float64]:
    """Multiply a matrix of integers in -128 .. 127 by one of integers in -255 .. 255, exactly, on BLAS.

    float32 holds integers up to 2**24 exactly, which is `_EXACT_TERMS` products; longer sums are taken in parts.
    """
    total = np.zeros((left.shape[0], right.shape[1]), np.float64)
    for start in range(0, left.shape[1], _EXACT_TERMS):
        part = slice(start, start + _EXACT_TERMS)
        total += left[:, part].astype(np.float32) @ right[part].astype(np.float32, copy=False)
    return total


def _depthwise(view: Array, kernel: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    # float32 is exact for kernels of up to `_EXACT_TERMS` taps, which few depthwise kernels exceed.
    total = np.zeros(view.shape[:4], np.float32 if kernel[0].size <= _EXACT_TERMS else np.float64)
    for row in range(kernel.shape[1]):
        for column in range(kernel.shape[2]):
            total += view[..., row, column] * kernel[None, :, row, column, None, None].astype(np.float32)
    return total.astype(np.float64)
