"""Sequential bias correction: biases take up the mean error that rounding leaves behind each layer.

For a layer ``y = W x + b`` with quantised weights ``W'`` on quantised inputs ``x'`` the expected error of a channel is
``E[W x] - E[W' x']``, and it is added to the bias. Layers are corrected in order of execution, each on inputs that the
corrected layers before it produce; correcting all at once diverges.

Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.2
(here with calibration images in place of batch-norm statistics).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.affine import dequantise, quantise
from edgecnn.export import artefact
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import Frame
from edgecnn.windows import output_size

Doubles = npt.NDArray[np.float64]
WEIGHTED = ("Conv", "Gemm")


@dataclass(frozen=True)
class FloatSide:
    """What correction needs to know of the float model: weights, and mean inputs per kernel tap, by node name."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    means: Mapping[str, Doubles]


def tap_means(node: IntegerNode, values: Array, kernel: Sequence[int]) -> Doubles:
    """Return the mean input that every weight of a channel meets.

    Args:
        node: A Conv or Gemm.
        values: Real inputs, (1, C, H, W) or (..., K).
        kernel: Spatial size of the weight, empty for a Gemm.

    Returns:
        float64 of shape (C, kh, kw), or (K,) for a Gemm.
    """
    if node.op == "Gemm":
        return np.asarray(values.reshape(-1, values.shape[-1]).mean(axis=0), np.float64)
    pads, strides, dilations = node.ints("pads"), node.ints("strides"), node.ints("dilations")
    met = [
        _met(values.shape[2 + axis], kernel[axis], strides[axis], (pads[axis], pads[axis + 2]), dilations[axis])
        for axis in (0, 1)
    ]
    # Sum over the pixels that a tap meets: rows times map times columns, two small matrix products a channel.
    totals = met[0].T @ (values[0] @ met[1])
    count = np.prod(
        [output_size(values.shape[2 + i], kernel[i], strides[i], pads[i], pads[i + 2], dilations[i]) for i in (0, 1)]
    )
    return np.asarray(totals, np.float64) / float(count)


def _met(size: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int) -> npt.NDArray[np.float32]:
    """Return 1 where a tap of the kernel meets a pixel at some position of the window, shape (size, kernel)."""
    count = output_size(size, kernel, stride, *pads, dilation)
    met = np.zeros((size, kernel), np.float32)
    for tap in range(kernel):
        pixels = np.arange(count) * stride + tap * dilation - pads[0]
        met[pixels[(pixels >= 0) & (pixels < size)], tap] = 1
    return met


def expected(node: IntegerNode, weight: Array, means: Doubles) -> Doubles:
    """Return the mean of ``W x`` per output channel, shape (O,)."""
    if node.op == "Gemm":
        return np.asarray(weight.astype(np.float64) @ means)
    group = node.integer("group")
    grouped = weight.astype(np.float64).reshape(group, weight.shape[0] // group, -1)
    return np.asarray(np.einsum("gok,gk->go", grouped, means.reshape(group, -1)).ravel())


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


def correct(
    graph: IntegerGraph, side: FloatSide, frames: Sequence[Frame], progress: Callable[[], None] = lambda: None
) -> IntegerGraph:
    """Return ``graph`` with corrected biases.

    Args:
        graph: The integer graph.
        side: Result of `float_side` on the same frames.
        frames: uint8 (H, W, C); some tens are enough. All are carried through the graph side by side.
        progress: Called once a node.
    """
    remaining = Counter(name for node in graph.nodes for name in node.inputs)
    values: dict[str, list[Array]] = {graph.inputs[0]: [frame[None] for frame in frames]}
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.name in side.means:
            constants[node.inputs[2]] = _corrected_bias(graph, node, side, values[node.inputs[0]])
        values[node.output] = _run(replace(graph, constants=constants), node, values)
        for name in node.inputs:
            remaining[name] -= 1
            if not remaining[name]:
                values.pop(name, None)
        progress()
    return replace(graph, constants=constants)


def _corrected_bias(graph: IntegerGraph, node: IntegerNode, side: FloatSide, inputs: Sequence[Array]) -> Array:
    x, weight, bias = (graph.spec(name) for name in node.inputs)
    integers = graph.constants[weight.name]
    offsets = (array.astype(np.float32) - np.float32(x.grid.zero_point) for array in inputs)
    total = sum(tap_means(node, offset, weight.shape[2:]) for offset in offsets)
    means = np.asarray(total, np.float64) * x.grid.scale[0] / len(inputs)
    wanted = expected(node, side.weights[node.name], side.means[node.name])
    error = wanted - expected(node, dequantise(integers, weight.grid), means)
    real = dequantise(graph.constants[bias.name], bias.grid).astype(np.float64) + error
    return quantise(real, bias.grid, "int32")


def _run(graph: IntegerGraph, node: IntegerNode, values: Mapping[str, list[Array]]) -> list[Array]:
    single = graph.single(node)
    columns = [values[name] for name in single.inputs]
    with artefact.opened("onnxruntime", single, threads=2) as engine:
        return [engine.run(arrays)[0] for arrays in zip(*columns, strict=True)]
