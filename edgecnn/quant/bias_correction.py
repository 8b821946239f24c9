"""Sequential bias correction: biases take up the mean error that rounding leaves behind each layer.

For a layer ``y = W x + b`` with quantised weights ``W'`` on quantised inputs ``x'`` the expected error of a channel is
``E[W x] - E[W' x']``, and it is added to the bias. Layers are corrected in order of execution, each on inputs that the
corrected layers before it produce; correcting all at once diverges.

Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.2
(here with calibration images in place of batch-norm statistics).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.affine import dequantise, quantise
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.matrices import WEIGHTED, Doubles, rows, tap_means


@dataclass(frozen=True)
class FloatSide:
    """What correction needs to know of the float model: weights, and mean inputs per kernel tap, by node name."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    means: Mapping[str, Doubles]


def float_side(
    model: ir.Model, graph: IntegerGraph, weights: Mapping[str, npt.NDArray[np.float32]], frames: Sequence[Frame]
) -> FloatSide:
    """Run the float model on ``frames`` and gather the mean inputs of every weighted node of ``graph``."""
    nodes = [node for node in graph.nodes if node.op in WEIGHTED and node.inputs[0] not in graph.inputs]
    names = list(dict.fromkeys(node.inputs[0] for node in nodes))
    totals: dict[str, Doubles] = {}
    if not names:
        return FloatSide(weights, totals)
    runner = FloatModel(model, threads=2, outputs=names)
    for frame in frames:
        values = dict(zip(names, runner({graph.inputs[0]: frame[None]}), strict=True))
        for node in nodes:
            kernel = graph.spec(node.inputs[1]).shape[2:]
            means = tap_means(node, values[node.inputs[0]], kernel) / len(frames)
            totals[node.name] = totals.get(node.name, np.zeros_like(means)) + means
    return FloatSide(weights, totals)


def corrected_bias(graph: IntegerGraph, node: IntegerNode, side: FloatSide, inputs: Sequence[Array]) -> Array:
    """Return the int32 bias of ``node`` on which its mean outputs are those of the float model.

    Args:
        graph: The integer graph, with the layer's final weights.
        node: A Conv, ConvTranspose or Gemm.
        side: Result of `float_side` on the same frames.
        inputs: The layer's uint8 inputs, one array a frame.
    """
    x, weight, bias = (graph.spec(name) for name in node.inputs)
    offsets = (array.astype(np.float32) - np.float32(x.grid.zero_point) for array in inputs)
    total = sum(tap_means(node, offset, weight.shape[2:]) for offset in offsets)
    means = np.asarray(total, np.float64) * x.grid.scale[0] / len(inputs)
    wanted = expected(node, side.weights[node.name], side.means[node.name])
    error = wanted - expected(node, dequantise(graph.constants[weight.name], weight.grid), means)
    real = dequantise(graph.constants[bias.name], bias.grid).astype(np.float64) + error
    return quantise(real, bias.grid, "int32")


def expected(node: IntegerNode, weight: Array, means: Doubles) -> Doubles:
    """Return the mean of ``W x`` per output channel, shape (O,); ``means`` is what `tap_means` gives."""
    matrix = rows(node, weight).astype(np.float64)
    return np.asarray(np.einsum("gok,gk->go", matrix, means.reshape(len(matrix), -1)).ravel())
