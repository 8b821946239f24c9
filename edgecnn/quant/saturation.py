"""How well the chosen grids fit what calibration saw: saturation, codes in use, histograms; and the same of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.statistics import Statistics
from edgecnn.tensor import QuantParams

Doubles = npt.NDArray[np.float64]
BINS = 64
CODES = 256


@dataclass(frozen=True)
class TensorFit:
    """One activation and its grid. Shares are of the values that calibration sampled.

    Attributes:
        name: The tensor.
        observed: Smallest and largest value that calibration saw.
        chosen: Smallest and largest value that the grid holds.
        below: Share of values that saturate at the lower end: more than half a step outside.
        above: The same at the upper end.
        codes: How many of the 256 codes occur.
        effective_codes: ``2 ** H`` with the entropy H of the codes in bits: so many codes, all as frequent, would say
            as much. (Cover and Thomas 2006, "Elements of Information Theory", section 2.1.)
        histogram: Share of values in each of `BINS` equal bins over ``observed``; empty for a constant tensor.
    """

    name: str
    observed: tuple[float, float]
    chosen: tuple[float, float]
    below: float
    above: float
    codes: int
    effective_codes: float
    histogram: tuple[float, ...]

    @property
    def saturated(self) -> float:
        """Share of values that saturate."""
        return self.below + self.above


@dataclass(frozen=True)
class WeightFit:
    """The integer weights of one layer.

    Attributes:
        layer: Name of the node.
        at_ends: Share of the weights that have the largest magnitude in use, which is 127 for 8 bits.
        channels: Number of output channels.
        dead: Channels whose weights are all zero.
        scale_ratio: Largest scale of a living channel over the smallest; 1 without one.
    """

    layer: str
    at_ends: float
    channels: int
    dead: int
    scale_ratio: float


def activation_fits(graph: IntegerGraph, statistics: Mapping[str, Statistics]) -> list[TensorFit]:
    """Compare every observed tensor with its grid, in order of execution.

    Args:
        graph: The integer graph.
        statistics: What calibration saw, by the tensor's name; see `edgecnn.quant.pipeline.Quantised`.
    """
    specs = [spec for spec in graph.activations() if spec.name in statistics and spec.quant is not None]
    return [_activation_fit(statistics[spec.name], spec.grid) for spec in specs]


def _activation_fit(seen: Statistics, grid: QuantParams) -> TensorFit:
    scale, zero_point = grid.scale[0], grid.zero_point
    # The outermost bins reach beyond the values in them.
    values = np.clip(seen.centres(), seen.low, seen.high)
    shares = seen.counts / max(int(seen.counts.sum()), 1)
    codes = values / scale + zero_point
    found = np.bincount(np.clip(np.rint(codes), 0, CODES - 1).astype(np.int64), shares, CODES)
    present = found[found > 0]
    return TensorFit(
        name=seen.name,
        observed=(seen.low, seen.high),
        chosen=(scale * (0 - zero_point), scale * (CODES - 1 - zero_point)),
        below=float(shares[codes < -0.5].sum()),
        above=float(shares[codes > CODES - 0.5].sum()),
        codes=len(present),
        effective_codes=float(2 ** -(present * np.log2(present)).sum()),
        histogram=_compact(values, shares, seen.low, seen.high),
    )


def _compact(values: Doubles, shares: Doubles, low: float, high: float) -> tuple[float, ...]:
    if not high > low:
        return ()
    return tuple(float(share) for share in np.histogram(values, BINS, (low, high), weights=shares)[0])


def weight_fits(graph: IntegerGraph) -> list[WeightFit]:
    """Return the facts of every layer with weights, in order of execution."""
    weighted = [(node.name, node.inputs[1]) for node in graph.nodes if len(node.inputs) > 1]
    return [
        _weight_fit(layer, graph.constants[name], graph.spec(name).grid)
        for layer, name in weighted
        if name in graph.constants and graph.spec(name).grid.axis is not None
    ]


def _weight_fit(layer: str, weights: npt.NDArray[np.int8], grid: QuantParams) -> WeightFit:
    rows = np.abs(np.moveaxis(weights, grid.axis or 0, 0).reshape(len(grid.scale), -1).astype(np.int16))
    alive = rows.any(axis=1)
    scales, top = grid.scales[alive], max(int(rows.max()), 1)
    ratio = float(scales.max() / scales.min()) if alive.any() else 1.0
    return WeightFit(layer, float((rows == top).mean()), len(rows), int((~alive).sum()), ratio)
