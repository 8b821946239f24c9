"""Round weights and correct biases layer by layer, each on what the layers before it really give.

The graph is walked in order of execution, all frames side by side. When a layer's turn comes, the layers before it are
final, so its inputs are those that it will see on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgecnn import exact_sums
from edgecnn.exact_sums import WEIGHTED, Rows
from edgecnn.export import artefact
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.quant import gptq
from edgecnn.quant.bias_correction import Wanted, corrected_bias
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.matrices import channels, second_moments

LIVE_BYTES = 2**28
"""What the frames may hold at a time, all of them together."""
COLUMNS_PER_INPUT = 2
FEWEST_POSITIONS = 64


def frames_that_fit(graph: IntegerGraph, frames: Sequence[Frame]) -> Sequence[Frame]:
    """Return as many frames as `LIVE_BYTES` allow to be walked through ``graph`` side by side, at least one."""
    return frames[: max(1, LIVE_BYTES // _largest_frontier(graph))]


def _largest_frontier(graph: IntegerGraph) -> int:
    """Return how many bytes of activations are alive at a time, at most, for one frame."""
    sizes = {spec.name: int(np.prod(spec.shape)) for spec in graph.activations()}
    live = largest = sizes[graph.inputs[0]]
    for node, dying in graph.lifetimes():
        live += sizes[node.output]
        largest = max(largest, live)
        live -= sum(sizes[name] for name in dying)
    return largest


def refine(
    graph: IntegerGraph,
    weights: Mapping[str, Array],
    frames: Sequence[Frame],
    rounding: str,
    wanted: Wanted | None,
    progress: Callable[[], None] = lambda: None,
) -> IntegerGraph:
    """Return ``graph`` with other weights and biases; its grids stay.

    Args:
        graph: The integer graph.
        weights: The float weights by node name.
        frames: uint8 (H, W, C); some tens are enough.
        rounding: ``"gptq"``, or ``"nearest"`` to leave the weights.
        wanted: Result of `edgecnn.quant.bias_correction.float_outputs` on the same frames; None to leave the biases.
        progress: Called once a node.
    """
    values: dict[str, list[Array]] = {graph.inputs[0]: [frame[None] for frame in frames]}
    for node, dying in graph.lifetimes():
        if node.op in WEIGHTED:
            inputs = values[node.inputs[0]]
            if rounding == "gptq":
                weight = _rounded(graph, node, weights[node.name], inputs)
                graph = graph.with_constant(node.inputs[1], weight)
            if wanted is not None:
                outputs = _run(graph, node, values)
                graph = graph.with_constant(node.inputs[2], corrected_bias(graph, node, wanted, outputs))
        values[node.output] = _run(graph, node, values)
        for name in dying:
            del values[name]
        progress()
    return graph


def _rounded(graph: IntegerGraph, node: IntegerNode, weight: Array, inputs: Sequence[Array]) -> Array:
    """Round the float ``weight`` of a layer to the grid that it has in ``graph``."""
    spec, x = graph.spec(node.inputs[1]), graph.spec(node.inputs[0]).grid
    layout = Rows.of(node, spec.shape)
    steps = layout.split(weight).astype(np.float64) / channels(layout, spec.grid.scales.astype(np.float64))
    most = max(FEWEST_POSITIONS, COLUMNS_PER_INPUT * steps.shape[2] // len(inputs))
    moments = second_moments(node, inputs, spec.shape[2:], x.zero_point, most)
    integers = gptq.round_rows(steps, moments, layout.partners())
    # Rows whose sums come near the end of int32 were given a scale on which rounding to nearest fits: they keep that.
    bias, before = channels(layout, graph.constants[node.inputs[2]]), layout.split(graph.constants[spec.name])
    fits = exact_sums.bias_room(integers)[..., None] >= np.abs(bias.astype(np.int64))
    return layout.join(np.where(fits, integers, before)).astype(np.int8)


def _run(graph: IntegerGraph, node: IntegerNode, values: Mapping[str, list[Array]]) -> list[Array]:
    single = graph.single(node)
    batches = [values[name] for name in single.inputs]
    with artefact.opened("onnxruntime", single, threads=2) as engine:
        return [engine.run(arrays)[0] for arrays in zip(*batches, strict=True)]
