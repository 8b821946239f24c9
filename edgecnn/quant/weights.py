"""Weights and biases as integers: int8 per output channel, int32 with the scale that the accumulator has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn.affine import quantise
from edgecnn.tensor import QuantParams

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SHARES = np.linspace(1.0, 0.5, 26)
# The accumulator's bias must fit int32 with room for the products; XNNPACK refuses requantisation factors below 2**-32.
BIAS_LIMIT = 2.0**30
SMALLEST_FACTOR = 2.0**-24


def channels_first(weight: Floats, axis: int) -> Floats:
    """Return ``weight`` as (channels, everything else)."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def weight_scales(weight: Floats, axis: int, bits: int, method: str) -> Doubles:
    """Choose one symmetric scale per channel.

    Args:
        weight: float32 weights.
        axis: Axis of the output channels.
        bits: 8, or fewer where a target narrows the grid.
        method: ``"minmax"`` or ``"mse"`` (smallest squared error over shrunk ranges).

    Returns:
        float64 of shape (channels,); 0 for a dead channel, whose weights are all zero.
    """
    rows = channels_first(weight, axis).astype(np.float64)
    top = 2 ** (bits - 1) - 1
    full: Doubles = np.abs(rows).max(axis=1) / top
    if method == "minmax":
        return full
    candidates = full[None, :] * SHARES[:, None]
    errors = np.stack([_squared_error(rows, scale, top) for scale in candidates])
    best: Doubles = candidates[errors.argmin(axis=0), np.arange(full.size)]
    return best


def _squared_error(rows: Doubles, scale: Doubles, top: int) -> Doubles:
    safe = np.where(scale > 0, scale, 1.0)[:, None]
    error: Doubles = ((np.clip(np.rint(rows / safe), -top, top) * safe - rows) ** 2).sum(axis=1)
    return error


def weight_grid(scales: Doubles, axis: int, bias: Floats, source: QuantParams, target: QuantParams) -> QuantParams:
    """Make the weights' grid, with a floor under every scale.

    The floor keeps the bias inside int32 and the requantisation factor ``s_in * s_w / s_out`` representable, so that a
    dead channel (scale 0) gives its bias and no NaN.
    """
    s_in, s_out = source.scale[0], target.scale[0]
    floor = np.maximum(np.abs(bias.astype(np.float64)) / (s_in * BIAS_LIMIT), SMALLEST_FACTOR * s_out / s_in)
    alive = np.where(scales > 0, scales, s_out / s_in)
    return QuantParams.per_channel(np.maximum(alive, floor), axis)


def bias_grid(source: QuantParams, weight: QuantParams) -> QuantParams:
    """Return the accumulator's grid: ``s_in * s_w`` per channel in float32."""
    return QuantParams.per_channel(source.scales * weight.scales, 0)


def quantise_weight(weight: Floats, grid: QuantParams, bits: int) -> npt.NDArray[np.int8]:
    """Round to the nearest integer of ``grid`` inside the symmetric range of ``bits``."""
    top = 2 ** (bits - 1) - 1
    return np.clip(quantise(weight, grid, "int8"), -top, top).astype(np.int8)
