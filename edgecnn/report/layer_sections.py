"""The report's sections on single layers: the noise they make, and how their grids fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.report.layer_rows import SensitivitySection, TensorRow, TensorSection

if TYPE_CHECKING:
    from edgecnn.quant.saturation import TensorFit, WeightFit
    from edgecnn.quant.sensitivity import Sensitivity

Doubles = npt.NDArray[np.float64]
KINDS = {
    "ConvTranspose": "transposed convolution",
    "Gemm": "fully connected layer",
    "Add": "addition",
    "Sub": "subtraction",
    "Mul": "multiplication",
    "ReduceMean": "mean",
    "AveragePool": "average pooling",
    "Requantize": "change of grid",
}


def sensitivity_section(found: Sensitivity, graph: IntegerGraph) -> SensitivitySection:
    """Return the noise of single layers as a section of the report; shares are means over the outputs."""
    parts = [part for layer in found.layers for part in (layer.weights, layer.activation)]
    powers = np.stack([_powers(part, len(found.outputs)) for part in parts]).reshape(len(found.layers), 2, -1)
    total = powers.sum(axis=(0, 1))
    noisy = total > 0
    shares = (powers[..., noisy] / total[noisy]).mean(axis=-1) if noisy.any() else np.zeros(powers.shape[:2])
    nodes = {node.name: node for node in graph.nodes}
    return {
        "frames": found.frames,
        "outputs": list(found.outputs),
        "sum_db": _decibels(total),
        "whole_db": _rounded(found.whole),
        "layers": [
            {
                "layer": layer.name,
                "kind": kind_of(nodes[layer.name], graph),
                "weights_db": None if layer.weights is None else _rounded(layer.weights),
                "output_db": None if layer.activation is None else _rounded(layer.activation),
                "weights_share": round(float(share[0]), 5),
                "output_share": round(float(share[1]), 5),
            }
            for layer, share in zip(found.layers, shares, strict=True)
        ],
    }


def _powers(ratios: Sequence[float] | None, count: int) -> Doubles:
    """Return noise over signal of every output: ``10 ** (-dB / 10)``; 0 where there is no noise, or no signal."""
    decibels = np.asarray([math.inf] * count if ratios is None else ratios, np.float64)
    return np.asarray(10 ** (-np.where(np.isfinite(decibels), decibels, math.inf) / 10))


def _decibels(powers: Doubles) -> list[float | None]:
    return [round(-10 * math.log10(power), 2) if power > 0 else None for power in powers.tolist()]


def _rounded(ratios: Sequence[float]) -> list[float | None]:
    # What another processor computes differs in the last digits.
    return [round(ratio, 2) if math.isfinite(ratio) else None for ratio in ratios]


def kind_of(node: IntegerNode, graph: IntegerGraph) -> str:
    """Return what a node is, in the words of people who build networks."""
    if node.op != "Conv":
        return KINDS.get(node.op, node.op)
    outputs, inputs, *kernel = graph.spec(node.inputs[1]).shape
    group = node.integer("group")
    if group > 1:
        return "depthwise convolution" if inputs == 1 and outputs % group == 0 else "grouped convolution"
    return f"{'×'.join(map(str, kernel))} convolution"


def tensor_section(
    graph: IntegerGraph, activations: Sequence[TensorFit], weights: Sequence[WeightFit]
) -> TensorSection:
    """Return the fit of all grids as a section of the report."""
    writers = {node.output: node.name.removesuffix("/clamp") for node in graph.nodes}
    return {
        "activations": [_tensor_row(fit, writers.get(fit.name, fit.name)) for fit in activations],
        "weights": [
            {
                "layer": fit.layer,
                "at_ends": round(fit.at_ends, 5),
                "channels": fit.channels,
                "dead": fit.dead,
                "scale_ratio": round(fit.scale_ratio, 2),
            }
            for fit in weights
        ],
    }


def _tensor_row(fit: TensorFit, layer: str) -> TensorRow:
    return {
        "tensor": fit.name,
        "layer": layer,
        "observed": [_significant(end) for end in fit.observed],
        "chosen": [_significant(end) for end in fit.chosen],
        "below": round(fit.below, 6),
        "above": round(fit.above, 6),
        "codes": fit.codes,
        "effective_codes": round(fit.effective_codes, 1),
        "histogram": [round(share, 6) for share in fit.histogram],
    }


def _significant(value: float) -> float:
    return float(f"{value:.6g}")
