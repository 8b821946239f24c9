"""Weights and biases as integers: int8 per output channel, int32 with the scale that the accumulator has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn import exact_sums
from edgecnn.affine import along
from edgecnn.exact_sums import Indices, Rows
from edgecnn.tensor import QuantParams

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SHARES = np.linspace(1.0, 0.5, 26)
# The accumulator's bias must fit int32 with room for the products; XNNPACK refuses requantisation factors below 2**-32.
BIAS_LIMIT = 2.0**30
SMALLEST_FACTOR = 2.0**-24
CLEAR_FACTOR = 2.0**-14
"""Results are multiples of the requantisation factor, half of which keeps them from every rounding middle (rule 1 of
`edgecnn.quant.portable`). Below this, float32's error of some 2e-5 on 8-bit results decides: engines round apart."""
COARSEST = 32
"""Steps that the largest weight of a row keeps whatever `CLEAR_FACTOR` asks for."""


def channels_first(weight: Floats, layout: Rows) -> Doubles:
    """Return ``weight`` as float64 (channels, K)."""
    matrix = layout.split(weight).astype(np.float64)
    return matrix.reshape(-1, matrix.shape[2])


def weight_scales(rows: Doubles, partners: Indices, method: str) -> Doubles:
    """Choose one symmetric scale per channel.

    Args:
        rows: Real weights (channels, K).
        partners: Which of them form pairs; see `edgecnn.exact_sums.Rows.partners`.
        method: ``"minmax"``: nothing is cut off, and no pair is too large; ``"mse"``: the smallest squared error over
            shrunk ranges, in which what is too large is.

    Returns:
        float64 of shape (channels,); 0 for a dead channel, whose weights are all zero.
    """
    full = exact_sums.least_scales(rows, partners)
    if method == "minmax":
        return full
    candidates = full[None, :] * SHARES[:, None]
    errors = np.stack([_squared_error(rows, partners, scale) for scale in candidates])
    best: Doubles = candidates[errors.argmin(axis=0), np.arange(full.size)]
    return best


def _squared_error(rows: Doubles, partners: Indices, scale: Doubles) -> Doubles:
    safe = np.where(scale > 0, scale, 1.0)[:, None]
    error: Doubles = ((exact_sums.nearest(rows / safe, partners) * safe - rows) ** 2).sum(axis=1)
    return error


def weight_grid(
    scales: Doubles, axis: int, rows: Doubles, bias: Floats, source: QuantParams, target: QuantParams
) -> QuantParams:
    """Make the weights' grid, with a floor under every scale.

    The floor keeps the accumulator inside int32 (rule 2 of `edgecnn.exact_sums`) and the requantisation factor
    ``s_in * s_w / s_out`` representable, so that a dead channel (scale 0) gives its bias and no NaN. And it keeps
    roundings out of doubt, where that leaves `COARSEST` steps to the weights.

    Args:
        scales: Wanted scales (channels,).
        axis: Axis of the output channels.
        rows: Real weights (channels, K).
        bias: Real biases (channels,).
        source: Grid of the input.
        target: Grid of the output.
    """
    s_in, s_out = source.scale[0], target.scale[0]
    offset = np.abs(bias.astype(np.float64)) / s_in
    # Rounding to nearest adds half a step to every weight, and one to the bias.
    room = exact_sums.LARGEST_SUM - 1.0 - exact_sums.LARGEST_INPUT * rows.shape[1] / 2
    sums = exact_sums.LARGEST_INPUT * np.abs(rows).sum(axis=1) + offset
    floor = np.maximum(offset / BIAS_LIMIT, SMALLEST_FACTOR * s_out / s_in)
    clear = np.minimum(CLEAR_FACTOR * s_out / s_in, np.abs(rows).max(axis=1) / COARSEST)
    floor = np.maximum.reduce([floor, sums / max(room, 1.0), clear])
    alive = np.where(scales > 0, scales, s_out / s_in)
    return QuantParams.per_channel(np.maximum(alive, floor), axis)


def bias_grid(source: QuantParams, weight: QuantParams) -> QuantParams:
    """Return the accumulator's grid: ``s_in * s_w`` per channel in float32."""
    return QuantParams.per_channel(source.scales * weight.scales, 0)


def quantise_weight(weight: Floats, grid: QuantParams, layout: Rows) -> npt.NDArray[np.int8]:
    """Round to the nearest integers of ``grid`` that keep rule 1 of `edgecnn.exact_sums`."""
    steps = weight.astype(np.float64) / along(grid.scales, grid.axis, weight.ndim)
    integers = layout.join(exact_sums.nearest(layout.split(steps), layout.partners()))
    return np.asarray(integers, np.int8)
