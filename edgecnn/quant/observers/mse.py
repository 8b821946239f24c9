"""The range whose grid has the smallest mean squared error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn.affine import grid_for_range
from edgecnn.quant.statistics import Statistics

SHARES = np.linspace(1.0, 0.3, 36)


def choose(statistics: Statistics, percentile: float) -> tuple[float, float]:
    """Shrink the upper end, then the lower, then the upper again, each to the smallest squared error.

    Source: Nagel et al. 2021, "A White Paper on Neural Network Quantization", section 3.1 (asymmetric variant).
    """
    used = statistics.counts > 0
    values, counts = statistics.centres()[used], statistics.counts[used].astype(np.float64)
    low, high = statistics.low, statistics.high
    high = _best([(low, high * share) for share in SHARES], values, counts)[1]
    low = _best([(low * share, high) for share in SHARES], values, counts)[0]
    high = _best([(low, statistics.high * share) for share in SHARES], values, counts)[1]
    return low, high


def _best(
    ranges: list[tuple[float, float]], values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> tuple[float, float]:
    errors = [squared_error(low, high, values, counts) for low, high in ranges]
    return ranges[int(np.argmin(errors))]


def squared_error(low: float, high: float, values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> float:
    """Return the squared error, weighted by ``counts``, of ``values`` (bins,) on the grid for ``low .. high``."""
    grid = grid_for_range(low, high)
    scale = grid.scale[0]
    integers = np.clip(np.rint(values / scale) + grid.zero_point, 0, 255)
    return float(np.sum(counts * (values - scale * (integers - grid.zero_point)) ** 2))
