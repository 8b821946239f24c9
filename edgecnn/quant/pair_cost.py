"""What the limit on pairs of weights costs a network: noise of its weights with it and without it."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgecnn import exact_sums
from edgecnn.exact_sums import WEIGHTED, Indices, Rows
from edgecnn.quant.float_graph import read
from edgecnn.quant.placement import place
from edgecnn.quant.quantise import float_parameters
from edgecnn.quant.weights import Doubles, channels_first, weight_scales


def pair_cost(model: ir.Model, weight_range: str) -> tuple[float, float] | None:
    """Return the signal-to-noise ratio of the weights in dB, with rule 1 of `edgecnn.exact_sums` and without it.

    It is the mean over all layers with pairs, each rounded to nearest on the scales that ``weight_range`` gives: what
    the rule alone costs, before GPTQ and bias correction make some of it good.

    Args:
        model: The float graph that was quantised.
        weight_range: ``"minmax"`` or ``"mse"``.

    Returns:
        None for a model without such layers.
    """
    ratios = []
    for node in place(read(model)).nodes:
        if node.op not in WEIGHTED:
            continue
        weight, _ = float_parameters(node)
        layout = Rows(node.op, node.integer("group", 1), weight.shape)
        rows, partners = channels_first(weight, layout), layout.partners()
        if len(partners) and rows.any():
            ratios.append([_ratio(rows, these, weight_range) for these in (partners, partners[:0])])
    finite = [pair for pair in ratios if all(map(math.isfinite, pair))]
    if not finite:
        return None
    kept, free = np.mean(finite, axis=0)
    return float(kept), float(free)


def _ratio(rows: Doubles, partners: Indices, weight_range: str) -> float:
    scales = weight_scales(rows, partners, weight_range)[:, None]
    safe = np.where(scales > 0, scales, 1.0)
    noise = float(np.square(exact_sums.nearest(rows / safe, partners) * safe - rows).sum())
    return 10 * math.log10(float(np.square(rows).sum()) / noise) if noise > 0 else math.inf
