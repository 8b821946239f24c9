"""Grids on which rounding is never in doubt, so that every engine gets the same integer.

Engines multiply an exact integer sum by a float factor and round. They take the factors in different orders, so their
products differ in the last bits of float32, and where a product lies near the middle between two integers they round
apart; one such flip early in a network spreads to a fifth of all later values. A factor ``k / D`` with an odd ``D``
excludes this: multiples of ``1 / D`` stay ``1 / (2 D)`` away from every middle. With ``D`` near `DENOMINATOR` that is
some 2e-4, far above float32's error of some 5e-5 on 8-bit results, and the scales move by a tenth of a per cent.

Rules:

1. Conv, ConvTranspose, Gemm: ``s_in * s_w / s_out = k / D``; the weight's scale is free per channel, so it moves.
2. Add, Sub: the scales of all tensors that additions connect are integer multiples of one unit, the outputs' odd.
3. Mul, ReduceMean, Requantize: ``s_a * s_b / s_out = k / D`` and alike; the output's scale moves unless rule 2 has
   settled it or other tensors share the grid.
4. LeakyRelu: the output's scale moves by up to two per cent until none of the 256 inputs gives a result near a middle.

Ends of ranges are kept: scales grow, except where a clamp ends the grid, where they shrink.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgecnn.ops import FloatNode
from edgecnn.quant.placement import Placement, Range
from edgecnn.tensor import QuantParams

DENOMINATOR = 2047
CLEAR = 2e-4
"""How far a result must stay from the middle between two integers; float32 errs by some 5e-5."""
STEP, STEPS = 1e-4, 200
Doubles = npt.NDArray[np.float64]


def odd_ratio(factor: npt.ArrayLike, up: bool = True) -> Doubles:
    """Return the fraction ``k / D`` next to ``factor`` with an odd D near `DENOMINATOR` (larger for small factors).

    Args:
        factor: Positive factors, any shape.
        up: Whether the result may not be below ``factor``, else not above.
    """
    wanted = np.asarray(factor, np.float64)
    k = np.maximum(np.rint(wanted * DENOMINATOR), 1.0)
    exact = k / wanted
    below = 2 * np.floor((exact - 1) / 2) + 1
    denominator = np.maximum(below, 1.0) if up else 2 * np.ceil((exact - 1) / 2) + 1
    return np.asarray(k / denominator)


def weight_scales(scales: Doubles, source: QuantParams, target: QuantParams) -> Doubles:
    """Rule 1: move a weight's scales (channels,) so that the requantisation factors are odd ratios."""
    ratio = target.scale[0] / source.scale[0]
    return odd_ratio(scales / ratio) * ratio


def settle(
    placement: Placement, hulls: Mapping[str, Range], grids: Mapping[str, QuantParams]
) -> dict[str, QuantParams]:
    """Rules 2 and 3: return ``grids`` (by group) with scales moved; ``hulls`` are the ranges to keep (by group)."""
    settled = dict(grids)
    bound = {placement.group(name) for name, (_, high) in placement.clamps.items() if np.isfinite(high)}
    taken = set(placement.fixed)
    for cluster, outputs in _clusters(placement):
        members = [root for root in cluster if root not in placement.fixed]
        if not members:
            continue
        # A tensor of zeros is content with any scale; the 1 it was given must not set the unit.
        largest = max((settled[root].scale[0] for root in members if not _empty(hulls[root])), default=1.0)
        unit = largest / DENOMINATOR
        for root in members:
            scale = largest if _empty(hulls[root]) else settled[root].scale[0]
            steps = _steps(scale / unit, root in outputs, root not in bound)
            settled[root] = _with_scale(hulls[root], steps * unit)
        taken.update(members)
    for node in placement.nodes:
        root = placement.group(node.output)
        if root in taken or sum(placement.group(name) == root for name in placement.own) != 1:
            continue
        factor = _factor(node, placement, settled)
        if factor is not None:
            scale = factor / float(odd_ratio(factor / settled[root].scale[0], up=root in bound))
            settled[root] = _with_scale(hulls[root], scale)
        elif node.op == "LeakyRelu":
            source = settled[placement.group(node.inputs[0])]
            settled[root] = _away_from_middles(node, source, hulls[root], settled[root].scale[0], root in bound)
    return settled


def _away_from_middles(node: FloatNode, source: QuantParams, hull: Range, scale: float, shrink: bool) -> QuantParams:
    """Rule 4: move ``scale`` in small steps until no input of a LeakyRelu gives a result near a rounding middle."""
    steps = np.arange(-source.zero_point, 256 - source.zero_point) * np.float64(source.scale[0])
    real = np.where(steps >= 0, steps, steps * node.number("alpha", 0.01))
    moved = scale * (1 + (-STEP if shrink else STEP) * np.arange(STEPS))
    distances = np.abs(real / moved[:, None] - np.floor(real / moved[:, None]) - 0.5).min(axis=1)
    clear = np.flatnonzero(distances > CLEAR)
    return _with_scale(hull, float(moved[clear[0] if clear.size else distances.argmax()]))


def _empty(hull: Range) -> bool:
    return max(hull[1], -hull[0], 0.0) < 255 * float(np.finfo(np.float32).tiny)


def _steps(exact: float, odd: bool, up: bool) -> float:
    rounded = np.ceil(exact - 1e-6) if up else np.floor(exact + 1e-6)
    if odd and rounded % 2 == 0:
        rounded += 1 if up else -1
    return float(max(rounded, 1.0))


def _with_scale(hull: Range, scale: float) -> QuantParams:
    zero_point = int(np.clip(np.rint(-min(hull[0], 0.0) / scale), 0, 255))
    return QuantParams.per_tensor(scale, zero_point)


def _clusters(placement: Placement) -> list[tuple[set[str], set[str]]]:
    """Return, for each set of groups that additions connect, the set and those of it that are outputs."""
    clusters: list[tuple[set[str], set[str]]] = []
    for node in placement.nodes:
        if node.op not in ("Add", "Sub"):
            continue
        output = placement.group(node.output)
        groups = {placement.group(name) for name in _activations(node)} | {output}
        outputs = {output}
        for cluster in [item for item in clusters if item[0] & groups]:
            groups, outputs = groups | cluster[0], outputs | cluster[1]
            clusters.remove(cluster)
        clusters.append((groups, outputs))
    return clusters


def _activations(node: FloatNode) -> list[str]:
    return [name for name in node.inputs if name and name not in node.constants]


def _factor(node: FloatNode, placement: Placement, grids: Mapping[str, QuantParams]) -> float | None:
    """Return what the integer sum of ``node`` is multiplied by, times the output's scale; None where no rule holds."""
    activations = _activations(node)
    scales = [grids[placement.group(name)].scale[0] for name in activations]
    if node.op == "Mul" and len(activations) == 2:
        return scales[0] * scales[1]
    if node.op == "Requantize":
        return scales[0]
    if node.op == "ReduceMean":
        count = np.prod(node.shape(0)) / np.prod(node.output_shape)
        return float(scales[0] / count)
    return None
