"""Sliding windows over NCHW maps: output sizes, padding, and views that make convolution a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


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

    Sums are held in float64, which is exact up to 2**53 and runs on BLAS.
    """
    view = windows(values, weight.shape[2:], strides, dilations)
    if weight.shape[1] == 1 and weight.shape[0] == group:
        return _depthwise(view, weight[:, 0])
    batch, channels, height, width = view.shape[:4]
    per_group = weight.shape[0] // group
    parts = []
    for index in range(group):
        start = index * channels // group
        columns = view[:, start : start + channels // group].transpose(0, 2, 3, 1, 4, 5)
        kernel = weight[index * per_group : (index + 1) * per_group].reshape(per_group, -1)
        flat = columns.reshape(batch * height * width, -1).astype(np.float64) @ kernel.T.astype(np.float64)
        parts.append(flat.reshape(batch, height, width, per_group).transpose(0, 3, 1, 2))
    return np.concatenate(parts, axis=1)


def _depthwise(view: Array, kernel: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    total = np.zeros(view.shape[:4], np.float64)
    for row in range(kernel.shape[1]):
        for column in range(kernel.shape[2]):
            total += view[..., row, column] * kernel[None, :, row, column, None, None].astype(np.float64)
    return total
