"""The inputs that a layer's weights meet, as columns for the rows of `edgecnn.exact_sums.Rows`, and their moments.

Of a ConvTranspose, what its taps have in common at one output is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.exact_sums import Rows
from edgecnn.integer_graph import Array, IntegerNode
from edgecnn.windows import pad_map, windows

Doubles = npt.NDArray[np.float64]


def channels(layout: Rows, values: Array) -> Array:
    """Return one value per output channel, (O,), as (groups, O / groups, 1), to go with `Rows.split`."""
    return values.reshape(layout.group, -1, 1)


def columns(node: IntegerNode, values: npt.NDArray[np.float32], kernel: Sequence[int], most: int) -> Array:
    """Return inputs as a layer's weights meet them, float32 (groups, positions, K).

    Args:
        node: A Conv, ConvTranspose or Gemm.
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
        node: A Conv, ConvTranspose or Gemm.
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
