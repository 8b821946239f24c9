"""Sequential bias correction: biases take up the mean error that quantisation leaves behind each layer.

The error is measured behind the layer's clamp, where the next layer reads it, at positions where the bias can still
change something: not where both the integers and the float model are at the same end of the range. (What is expected of
``W x`` alone, before the clamp, is the wrong mean: in networks whose ReLUs are often shut, correcting it did harm.)
Layers are corrected in order of execution, each on inputs that the corrected layers before it produce; correcting all
at once diverges.

Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.2 and
appendix D (empirical bias correction).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn import exact_sums
from edgecnn.affine import dequantise
from edgecnn.exact_sums import WEIGHTED
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import Frame

POSITIONS = 64
"""How many places of a map are looked at, evenly spaced: memory does not grow with the size of pictures."""
Wanted = Mapping[str, Sequence[npt.NDArray[np.float32]]]
"""Real outputs at some positions, (channels, positions) for every frame, by tensor name."""


def at_positions(node: IntegerNode, values: Array) -> Array:
    """Return ``values``, an output of ``node``, at evenly spaced positions: (channels, at most `POSITIONS`)."""
    rows = values.reshape(-1, values.shape[-1]).T if node.op == "Gemm" else values.reshape(values.shape[1], -1)
    taken = min(rows.shape[1], POSITIONS)
    return rows[:, np.arange(taken) * rows.shape[1] // taken]


def behind_clamp(graph: IntegerGraph, node: IntegerNode) -> tuple[str, int, int]:
    """Return the name of the tensor behind the clamp of ``node``, and the integers at which the clamp ends."""
    for clamp in graph.nodes:
        if clamp.op == "Clip" and clamp.inputs[0] == node.output and node.output.endswith("/unclamped"):
            return clamp.output, clamp.integer("low"), clamp.integer("high")
    return node.output, 0, 255


def float_outputs(model: ir.Model, graph: IntegerGraph, frames: Sequence[Frame]) -> Wanted:
    """Run the float model on ``frames`` and return what every weighted node of ``graph`` should give."""
    nodes = {behind_clamp(graph, node)[0]: node for node in graph.nodes if node.op in WEIGHTED}
    wanted: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in nodes}
    if not nodes:
        return wanted
    runner = FloatModel(model, threads=2, outputs=list(nodes))
    for frame in frames:
        values = runner({graph.inputs[0]: frame[None]})
        for (name, node), value in zip(nodes.items(), values, strict=True):
            wanted[name].append(at_positions(node, value).copy())
    return wanted


def corrected_bias(graph: IntegerGraph, node: IntegerNode, wanted: Wanted, outputs: Sequence[Array]) -> Array:
    """Return the int32 bias of ``node`` on which its mean outputs are those of the float model.

    Args:
        graph: The integer graph, with the layer's final weights.
        node: A Conv, ConvTranspose or Gemm.
        wanted: Result of `float_outputs` on the same frames.
        outputs: What the layer gives now, uint8, one array a frame.
    """
    name, low, high = behind_clamp(graph, node)
    grid, bias = graph.spec(node.output).grid, graph.spec(node.inputs[2])
    integers = np.concatenate([at_positions(node, array) for array in outputs], axis=1).clip(low, high)
    target = np.concatenate(wanted[name], axis=1)
    ends = (np.asarray([low, high]) - grid.zero_point) * np.float64(grid.scale[0])
    stuck = ((integers == low) & (target <= ends[0])) | ((integers == high) & (target >= ends[1]))
    error = np.where(stuck, 0.0, target.astype(np.float64) - dequantise(integers, grid))
    mean = error.sum(axis=1) / np.maximum((~stuck).sum(axis=1), 1)
    return exact_sums.fitting_bias(graph, node, graph.constants[bias.name] + np.rint(mean / bias.grid.scales))
