"""Weighted layers as matrix products: rows of weights per group, and moments of the inputs that they meet.

A Conv with ``g`` groups is ``g`` products of a (O/g, K) matrix with columns of K inputs, K = C/g * kh * kw; a Gemm is
one. A ConvTranspose is taken as a 1x1 layer with a row a tap: what its taps have in common at one output is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.integer_graph import Array, IntegerNode
from edgecnn.windows import pad_map, windows

WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
Doubles = npt.NDArray[np.float64]


def rows(node: IntegerNode, weight: Array) -> Array:
    """Return ``weight`` as (groups, O / groups, K)."""
    if node.op == "Gemm":
        return weight[None]
    group = node.integer("group")
    if node.op == "Conv":
        return weight.reshape(group, weight.shape[0] // group, -1)
    inputs, outputs = weight.shape[0] // group, weight.shape[1]
    return weight.reshape(group, inputs, outputs, -1).transpose(0, 2, 1, 3).reshape(group, outputs, -1)


def from_rows(node: IntegerNode, matrix: Array, shape: Sequence[int]) -> Array:
    """Undo `rows`: return a weight of ``shape``."""
    if node.op != "ConvTranspose":
        return matrix.reshape(shape)
    group = node.integer("group")
    split = matrix.reshape(group, shape[1], shape[0] // group, -1)
    return split.transpose(0, 2, 1, 3).reshape(shape)


def channels(node: IntegerNode, values: Array) -> Array:
    """Return one value per output channel, (O,), as (groups, O / groups, 1), to go with `rows`."""
    group = 1 if node.op == "Gemm" else node.integer("group")
    return values.reshape(group, -1, 1)


def columns(node: IntegerNode, values: npt.NDArray[np.float32], kernel: Sequence[int], most: int) -> Array:
    """Return inputs as a layer's weights meet them, float32 (groups, positions, K).

    Args:
        node: A node of `WEIGHTED`.
        values: Inputs in which 0 is real 0, (1, C, H, W) or (..., K).
        kernel: Spatial size of the weight, empty for a Gemm.
        most: Largest number of positions, evenly spaced.
    """
    if node.op == "Gemm":
        flat = values.reshape(-1, values.shape[-1])
        return flat[_spaced(len(flat), most)][None]
    group, count = node.integer("group"), values.shape[1]
    if node.op == "ConvTranspose":
        pixels = values[0].reshape(count, -1)
        chosen = pixels[:, _spaced(pixels.shape[1], most)]
    else:
        view = windows(pad_map(values, node.ints("pads"), 0.0), kernel, node.ints("strides"), node.ints("dilations"))[0]
        place = np.divmod(_spaced(view.shape[1] * view.shape[2], most), view.shape[2])
        chosen = view[:, place[0], place[1]].transpose(0, 2, 3, 1).reshape(count * int(np.prod(kernel)), -1)
    return np.ascontiguousarray(chosen.reshape(group, -1, chosen.shape[1]).transpose(0, 2, 1))


def _spaced(count: int, most: int) -> npt.NDArray[np.int64]:
    taken = min(count, most)
    return np.arange(taken) * count // taken


def second_moments(
    node: IntegerNode, inputs: Sequence[Array], kernel: Sequence[int], zero_point: int, most: int
) -> Doubles:
    """Return the mean of ``x x^T`` over ``inputs``, float64 (groups, K, K), in squared steps of the inputs' grid.

    Args:
        node: A node of `WEIGHTED`.
        inputs: uint8 inputs, one array a picture.
        kernel: Spatial size of the weight, empty for a Gemm.
        zero_point: The integer that stands for real 0.
        most: Largest number of positions to take from a picture.
    """
    total: Array = np.zeros(())
    count = 0
    for array in inputs:
        x = columns(node, array.astype(np.float32) - np.float32(zero_point), kernel, most)
        total = total + x.transpose(0, 2, 1) @ x
        count += x.shape[1]
    moments = np.asarray(total, np.float64) / count
    if node.op != "ConvTranspose":
        return moments
    taps = int(np.prod(kernel))
    spread: Doubles = np.einsum("gij,st->gisjt", moments, np.eye(taps))
    return spread.reshape(len(moments), moments.shape[1] * taps, -1)
