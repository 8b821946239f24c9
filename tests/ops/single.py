"""Graphs of one operator, and what the reference and ONNX Runtime make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecnn.affine import dequantise
from edgecnn.exact_sums import Rows, nearest
from edgecnn.export import artefact
from edgecnn.integer_graph import Array, Attribute, IntegerGraph, IntegerNode
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams, TensorSpec


def uint8(name: str, shape: Sequence[int], scale: float = 0.05, zero_point: int = 100) -> TensorSpec:
    """Declare an activation."""
    return TensorSpec(name, tuple(shape), "uint8", QuantParams.per_tensor(scale, zero_point))


def single(
    op: str,
    inputs: Sequence[TensorSpec],
    output: TensorSpec,
    constants: Mapping[str, Array] | None = None,
    **attributes: Attribute,
) -> IntegerGraph:
    """Make the graph of one node; inputs that are not in ``constants`` are the graph's inputs."""
    constants = dict(constants or {})
    node = IntegerNode(op.lower(), op, tuple(spec.name for spec in inputs), output.name, attributes)
    names = tuple(dict.fromkeys(spec.name for spec in inputs if spec.name not in constants))
    tensors = {spec.name: spec for spec in (*inputs, output)}
    return IntegerGraph("single", names, (output.name,), (node,), tensors, constants)


def in_pairs(op: str, weight: Array, group: int = 1) -> Array:
    """Return the nearest integer weights that keep rule 1 of `edgecnn.exact_sums`, int8."""
    layout = Rows(op, group, weight.shape)
    return layout.join(nearest(layout.split(weight.astype(float)), layout.partners())).astype(np.int8)


def convolution(
    op: str,
    x: TensorSpec,
    weight: Array,
    bias: Array,
    scales: Sequence[float],
    output: TensorSpec,
    wide_pairs: bool = False,
    **attributes: Attribute,
) -> IntegerGraph:
    """Make a Conv, ConvTranspose or Gemm; the weight's scales run along its output channels.

    Its weights keep rule 1 of `edgecnn.exact_sums`, as those of an export do, but for ``wide_pairs``.
    """
    group = attributes.get("group", 1)
    weight = weight if wide_pairs else in_pairs(op, weight, group)
    axis = 1 if op == "ConvTranspose" else 0
    per_channel = QuantParams.per_channel(scales, axis)
    sums = per_channel.scales * x.grid.scales
    repeats = bias.size // sums.size
    parameters = (
        TensorSpec("weight", weight.shape, "int8", per_channel),
        TensorSpec("bias", bias.shape, "int32", QuantParams.per_channel(np.tile(sums, repeats), 0)),
    )
    return single(op, (x, *parameters), output, {"weight": weight, "bias": bias}, **attributes)


def random_arrays(graph: IntegerGraph, seed: int) -> list[Array]:
    """Draw one uint8 array per input."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, graph.spec(name).shape, dtype=np.uint8) for name in graph.inputs]


def by_reference(graph: IntegerGraph, arrays: Sequence[Array]) -> Array:
    """Run the reference engine."""
    return run_graph(graph, arrays)[graph.outputs[0]]


def by_onnxruntime(graph: IntegerGraph, arrays: Sequence[Array]) -> Array:
    """Write the ONNX artefact and run it as a bundle would."""
    with artefact.opened("onnxruntime", graph) as engine:
        return engine.run(arrays)[0]


def operands(graph: IntegerGraph, arrays: Sequence[Array]) -> list[Array]:
    """Return the integers of all inputs of the node, constants included, in its order."""
    known = dict(zip(graph.inputs, arrays, strict=True)) | dict(graph.constants)
    return [known[name] for name in graph.nodes[0].inputs]


def reals(graph: IntegerGraph, arrays: Sequence[Array]) -> list[Array]:
    """Return the real values of all inputs of the node in float64."""
    specs = [graph.spec(name) for name in graph.nodes[0].inputs]
    pairs = zip(operands(graph, arrays), specs, strict=True)
    return [_real(integers, spec) for integers, spec in pairs]


def _real(integers: Array, spec: TensorSpec) -> Array:
    if spec.dtype == "int32":  # float32 does not hold every bias
        return integers.astype(np.float64) * spec.grid.scales.astype(np.float64)
    return dequantise(integers, spec.grid).astype(np.float64)


def largest_difference(first: Array, second: Array) -> int:
    """Return the largest difference in LSB."""
    assert first.shape == second.shape
    assert first.dtype == second.dtype
    return int(np.abs(first.astype(np.int64) - second.astype(np.int64)).max())
