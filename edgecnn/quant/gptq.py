"""Round weights one input at a time; those not rounded yet take up the error.

For a row ``w`` of a layer and the second moments ``H = E[x x^T]`` of its quantised inputs, the error at the output is
``(w - q) H (w - q)^T``. After each column is rounded, the columns behind it move to where that error is smallest.

Source: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
algorithm 1 (order of the columns kept, no grouping).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn import exact_sums
from edgecnn.exact_sums import Indices

DAMPING = 0.01
"""Share of the mean diagonal that is added to ``H``: inputs that the pictures do not show stay undecided."""
BLOCK = 128
LARGEST = 2304
"""Columns that are rounded together; of a longer row the parts do not know of each other, which bounds memory."""
Doubles = npt.NDArray[np.float64]


def round_rows(weight: Doubles, moments: Doubles, partners: Indices) -> Doubles:
    """Round ``weight``; the pairs of the result keep rule 1 of `edgecnn.exact_sums`.

    Args:
        weight: In steps of each row's grid, float64 (groups, rows, K).
        moments: Second moments of the inputs, float64 (groups, K, K).
        partners: Which places of a row form pairs; see `edgecnn.exact_sums.Rows.partners`.

    Returns:
        Integers as float64, same shape.
    """
    size = weight.shape[2]
    limits = _Limits(weight, partners)
    for part in np.array_split(np.arange(size), -(-size // LARGEST)):
        _round_part(weight[:, :, part], moments[:, part[:, None], part], part, limits)
    return limits.integers


class _Limits:
    """How far a weight may go, given those of its pairs that are rounded.

    Of a pair that is too large as it is, the first one leaves the second its share.

    Attributes:
        integers: What is rounded so far, 0 elsewhere.
    """

    def __init__(self, weight: Doubles, partners: Indices) -> None:
        self.integers = np.zeros_like(weight)
        self._partners = partners
        self._shares = np.full_like(weight, exact_sums.TOP)
        size = np.abs(weight).clip(max=exact_sums.TOP)
        for mates in partners:
            excess = exact_sums.pair_sums(weight, mates) > exact_sums.PAIR
            share = np.rint(exact_sums.shared(size, size[:, :, mates]))
            self._shares = np.where(excess, np.minimum(self._shares, share), self._shares)

    def take(self, column: int, wanted: Doubles) -> Doubles:
        """Round ``wanted`` (groups, rows), keep it as the integers of ``column`` and return them."""
        high = np.full_like(wanted, exact_sums.TOP)
        low = -high
        for mate in self._partners[:, column]:
            if mate > column:
                high, low = (np.minimum(high, self._shares[:, :, column]), np.maximum(low, -self._shares[:, :, column]))
            elif mate < column:
                taken = self.integers[:, :, mate]
                high, low = np.minimum(high, exact_sums.PAIR - taken), np.maximum(low, -exact_sums.PAIR - taken)
        rounded: Doubles = np.clip(np.rint(wanted), low, high)
        self.integers[:, :, column] = rounded
        return rounded


def _round_part(weight: Doubles, moments: Doubles, places: Indices, limits: _Limits) -> None:
    """Round the columns ``places`` of the rows; ``weight`` and ``moments`` are theirs alone."""
    factor, rest = _factor(moments), weight.copy()
    size = weight.shape[2]
    for first in range(0, size, BLOCK):
        last = min(first + BLOCK, size)
        errors = np.empty((*weight.shape[:2], last - first))
        for column in range(first, last):
            rounded = limits.take(int(places[column]), rest[:, :, column])
            error = (rest[:, :, column] - rounded) / factor[:, column, column, None]
            rest[:, :, column + 1 : last] -= error[:, :, None] * factor[:, None, column, column + 1 : last]
            errors[:, :, column - first] = error
        rest[:, :, last:] -= errors @ factor[:, first:last, last:]


def _factor(moments: Doubles) -> Doubles:
    """Return the upper Cholesky factor of the damped moments' inverse; dead inputs count as unrelated to others."""
    size = moments.shape[1]
    damped, diagonal = moments.copy(), np.arange(size)
    mean = moments[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    damped[:, diagonal, diagonal] += np.where(mean > 0, DAMPING * mean, 1.0)
    factor: Doubles = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return factor
