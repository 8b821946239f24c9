"""The range that loses the least information in the sense of Kullback and Leibler."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn.quant.statistics import BINS, Statistics

NEEDS_HISTOGRAM = True
CANDIDATES = 64


def choose(statistics: Statistics, percentile: float) -> tuple[float, float]:
    """Clip both ends at the magnitude with the smallest divergence.

    Source: Migacz 2017, "8-bit Inference with TensorRT", with 128 levels on each side of zero.
    """
    half = BINS // 2
    magnitude = (statistics.counts[half:] + statistics.counts[half - 1 :: -1]).astype(np.float64)
    edges = np.unique(np.linspace(128, half, CANDIDATES).astype(int))
    best = edges[int(np.argmin([_divergence(magnitude, int(edge)) for edge in edges]))]
    clip = float(best) / half * statistics.limit
    return max(statistics.low, -clip), min(statistics.high, clip)


def _divergence(magnitude: npt.NDArray[np.float64], edge: int) -> float:
    kept = magnitude[:edge].copy()
    kept[-1] += magnitude[edge:].sum()
    if kept.sum() == 0:
        return 0.0
    level = np.arange(edge) * 128 // edge
    filled = magnitude[:edge] > 0
    mass = np.bincount(level, magnitude[:edge], 128)
    count = np.bincount(level, filled, 128)
    spread = np.where(filled, (mass / np.maximum(count, 1))[level], 0.0)
    p, q = kept / kept.sum(), spread / max(spread.sum(), 1.0)
    both = (p > 0) & (q > 0)
    lost = p[(p > 0) & (q == 0)].sum()
    return float(np.sum(p[both] * np.log(p[both] / q[both])) + lost * 50)
