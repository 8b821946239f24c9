"""Grids on which rounding is never in doubt, so that every engine gets the same integer.

Engines multiply an exact integer sum by a float factor and round. They take the factors in different orders, so their
products differ in the last bits of float32, and where a product lies near the middle between two integers they round
apart; one such flip early in a network spreads to a fifth of all later values. A factor ``k / D`` with an odd ``D``
excludes this: multiples of ``1 / D`` stay ``1 / (2 D)`` away from every middle. With ``D`` near `DENOMINATOR` that is
some 2e-4, far above float32's error of some 5e-5 on 8-bit results, and the scales move by a tenth of a per cent.

Rules:

1. Conv, ConvTranspose, Gemm, Mul by a constant: ``s_in * s_w / s_out = k / D``; the scale of the weight (per channel)
   or of the constant is free, so it moves.
2. Add, Sub: the scales of all tensors and constants that additions connect are integer multiples of one unit, the
   outputs' odd. The unit divides the scale of a fixed grid among them.
3. Mul, ReduceMean, Requantize, LeakyRelu, PRelu: ``s_a * s_b / s_out = k / D`` and alike, whichever end may move.
   Scales that rule 2 or another such operator ties together move together, by one factor.
4. LeakyRelu, PRelu: ``s_in * slope / s_out = k / D`` as well. A slope is free, and moves; of many slopes their step.
5. Sigmoid, Tanh: the input's scale moves by up to two per cent until none of the 256 results lies near a middle.

Ends of ranges are kept: scales grow, except where a clamp ends the grid, where they shrink.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn.affine import grid_for_range
from edgecnn.quant.placement import Range
from edgecnn.tensor import QuantParams

DENOMINATOR = 2047
Doubles = npt.NDArray[np.float64]
INT8 = 127


def odd_ratio(factor: npt.ArrayLike, up: bool = True) -> Doubles:
    """Return the fraction ``k / D`` next to ``factor`` with an odd D near `DENOMINATOR` (larger for small factors).

    Args:
        factor: Positive factors, any shape.
        up: Whether the result may not be below ``factor``, else not above.
    """
    return np.asarray(odd_ratios(factor, up, 1)[0])


def odd_ratios(factor: npt.ArrayLike, up: bool, count: int) -> Doubles:
    """Return ``count`` such fractions with denominators 2 apart, the next one first, shape (count, ...)."""
    wanted = np.asarray(factor, np.float64)
    k = np.maximum(np.rint(wanted * DENOMINATOR), 1.0)
    exact = k / wanted
    steps = 2 * np.arange(count).reshape(-1, *[1] * wanted.ndim)
    below = 2 * np.floor((exact - 1) / 2) + 1 - steps
    denominators = np.maximum(below, 1.0) if up else 2 * np.ceil((exact - 1) / 2) + 1 + steps
    return np.asarray(k / denominators)


def weight_scales(scales: Doubles, source: QuantParams, target: QuantParams) -> Doubles:
    """Rule 1: move a weight's scales (channels,) so that the requantisation factors are odd ratios."""
    ratio = target.scale[0] / source.scale[0]
    return odd_ratio(scales / ratio) * ratio


def constant_grid(ends: Range, source: QuantParams, target: QuantParams) -> QuantParams:
    """Rule 1: return the uint8 grid of a constant factor between ``ends``, its requantisation factor an odd ratio."""
    grid = grid_for_range(*ends)
    return with_scale(ends, float(weight_scales(np.asarray(grid.scale), source, target)[0]))


def with_scale(hull: Range, scale: float) -> QuantParams:
    """Return the uint8 grid of steps ``scale`` whose lowest integer stands for the low end of ``hull``."""
    zero_point = int(np.clip(np.rint(-min(hull[0], 0.0) / scale), 0, 255))
    return QuantParams.per_tensor(scale, zero_point)


def slope(value: float, source: QuantParams, target: QuantParams) -> float:
    """Rule 4: move one slope so that its requantisation factor is an odd ratio, or 0 as it was."""
    ratio = target.scale[0] / source.scale[0]
    return float(np.sign(value) * odd_ratio(abs(value) / ratio) * ratio) if value else 0.0


def slope_grid(slopes: npt.ArrayLike, source: QuantParams, target: QuantParams) -> QuantParams:
    """Rule 4: return the symmetric int8 grid of many slopes, its step times ``s_in / s_out`` an odd ratio.

    No step is finer than ``1 / DENOMINATOR`` of what one input step makes in the output: that would put results closer
    to a middle, and at most a sixteenth of an output step is lost by it.
    """
    ratio = target.scale[0] / source.scale[0]
    step = np.abs(slopes).max() / INT8 / ratio
    return QuantParams.per_tensor(float(odd_ratio(max(step, 1 / DENOMINATOR)) * ratio))
