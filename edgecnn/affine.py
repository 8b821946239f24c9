"""Quantise, dequantise, requantise: the only place that knows how a real value becomes an integer.

Rounding is to nearest, ties to even, in float32: what ONNX Runtime's MLAS and XNNPACK's fp32 requantisation do,
so that an oracle built on this file can be compared with them bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.tensor import DTYPES, QuantParams

Array = npt.NDArray[Any]


def along(values: npt.NDArray[np.float32], axis: int | None, rank: int) -> npt.NDArray[np.float32]:
    """Shape per-channel ``values`` (channels,) so that they broadcast along ``axis`` of a tensor of ``rank``."""
    if axis is None:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def saturate(values: npt.NDArray[np.float32], dtype: str) -> Array:
    """Clip ``values`` to the range of ``dtype`` and convert, nothing rounded here."""
    bounds = DTYPES[dtype]
    if bounds is None:
        raise ValueError("float32 has no integer range to saturate to")
    return np.clip(values, *bounds).astype(dtype)


def quantise(real: npt.ArrayLike, quant: QuantParams, dtype: str) -> Array:
    """Return ``saturate(round(real / scale) + zero_point)``.

    Args:
        real: Real values, any shape, finite.
        quant: The grid.
        dtype: ``"uint8"``, ``"int8"`` or ``"int32"``.

    Source: ONNX QuantizeLinear-13 (round half to even).
    """
    # float32 cannot hold every int32: biases are rounded in float64.
    values = np.asarray(real, np.float64 if dtype == "int32" else np.float32)
    scale = along(quant.scales, quant.axis, values.ndim).astype(values.dtype)
    rounded: Array = np.rint(values / scale)
    return saturate(rounded + quant.zero_point, dtype)


def dequantise(integers: Array, quant: QuantParams) -> npt.NDArray[np.float32]:
    """Return ``scale * (integers - zero_point)`` as float32, same shape.

    Source: ONNX DequantizeLinear-13.
    """
    offset = integers.astype(np.int32) - np.int32(quant.zero_point)
    return offset.astype(np.float32) * along(quant.scales, quant.axis, integers.ndim)


def requantise(accumulator: Array, multiplier: npt.NDArray[np.float32], zero_point: int, dtype: str = "uint8") -> Array:
    """Scale integer sums to an output grid: ``saturate(round(accumulator * multiplier) + zero_point)``.

    Args:
        accumulator: int32 (or exact wider) sums, any shape.
        multiplier: float32, broadcastable: ``s_in * s_weight / s_out``.
        zero_point: Zero point of the output grid.
        dtype: dtype of the output grid.

    Raises:
        OverflowError: If a sum is not an int32: an engine would wrap around there.
    """
    if np.abs(accumulator).max(initial=0) >= 2**31:
        raise OverflowError("a sum of products leaves int32")
    scaled = accumulator.astype(np.float32) * multiplier
    return saturate(np.rint(scaled) + np.float32(zero_point), dtype)


def multiplier(source: QuantParams, weight: QuantParams, target: QuantParams) -> npt.NDArray[np.float32]:
    """Return ``s_in * s_weight / s_out`` in float32, shape (1,) or (channels,)."""
    return np.asarray(source.scales * weight.scales / target.scales, np.float32)


def grid_for_range(low: float, high: float, levels: int = 255) -> QuantParams:
    """Return the uint8 grid that covers ``low .. high`` and holds real 0 exactly.

    Args:
        low: Smallest value to represent; taken as 0 if positive.
        high: Largest value to represent; taken as 0 if negative.
        levels: Number of steps between the ends, 255 for the whole of uint8.

    Returns:
        A per-tensor grid. A range of width zero gives scale 1, so that nothing becomes NaN.

    Raises:
        ValueError: If an end is not finite.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks", section 3.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"a range must be finite, got {low} .. {high}")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = np.float32((high - low) / levels)
    if scale < np.finfo(np.float32).tiny:
        return QuantParams.per_tensor(1.0, 0)
    return QuantParams.per_tensor(float(scale), int(np.clip(np.rint(-low / scale), 0, levels)))
