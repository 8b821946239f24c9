"""Round weights one input at a time; those not rounded yet take up the error.

For a row ``w`` of a layer and the second moments ``H = E[x x^T]`` of its quantised inputs, the error at the output is
``(w - q) H (w - q)^T``. After each column is rounded, the columns behind it move to where that error is smallest.

Source: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
algorithm 1 (order of the columns kept, no grouping).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DAMPING = 0.01
"""Share of the mean diagonal that is added to ``H``: inputs that the pictures do not show stay undecided."""
BLOCK = 128
LARGEST = 2304
"""Columns that are rounded together; of a longer row the parts do not know of each other, which bounds memory."""
Doubles = npt.NDArray[np.float64]


def round_rows(weight: Doubles, moments: Doubles, top: int) -> Doubles:
    """Round ``weight``.

    Args:
        weight: In steps of each row's grid, float64 (groups, rows, K).
        moments: Second moments of the inputs, float64 (groups, K, K).
        top: Largest magnitude, 127 for 8 bits.

    Returns:
        Integers as float64, same shape.
    """
    factor, rest, result = _factor(moments), weight.copy(), np.empty_like(weight)
    size = weight.shape[2]
    for first in range(0, size, BLOCK):
        last = min(first + BLOCK, size)
        errors = np.empty((*weight.shape[:2], last - first))
        for column in range(first, last):
            rounded = np.clip(np.rint(rest[:, :, column]), -top, top)
            error = (rest[:, :, column] - rounded) / factor[:, column, column, None]
            rest[:, :, column + 1 : last] -= error[:, :, None] * factor[:, None, column, column + 1 : last]
            result[:, :, column], errors[:, :, column - first] = rounded, error
        rest[:, :, last:] -= errors @ factor[:, first:last, last:]
    return result


def _factor(moments: Doubles) -> Doubles:
    """Return the upper Cholesky factor of the damped moments' inverse; dead inputs count as unrelated to others."""
    size = moments.shape[1]
    damped, diagonal = moments.copy(), np.arange(size)
    mean = moments[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    damped[:, diagonal, diagonal] += np.where(mean > 0, DAMPING * mean, 1.0)
    factor: Doubles = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return factor
