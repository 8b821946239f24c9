"""All but the rarest values are inside the range."""

from __future__ import annotations

import numpy as np

from edgecnn.quant.statistics import BINS, Statistics


def choose(statistics: Statistics, percentile: float) -> tuple[float, float]:
    """Return the range that leaves out ``100 - percentile`` per cent of the values at each end."""
    share = np.cumsum(statistics.counts) / max(int(statistics.counts.sum()), 1)
    tail = 1 - percentile / 100
    first, last = int(np.searchsorted(share, tail, "right")), int(np.searchsorted(share, 1 - tail))
    edges = np.linspace(-statistics.limit, statistics.limit, BINS + 1)
    low, high = edges[min(first, BINS - 1)], edges[min(last, BINS - 1) + 1]
    return max(float(low), statistics.low), min(float(high), statistics.high)
