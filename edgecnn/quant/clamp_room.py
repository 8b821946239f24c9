"""How much a channel in front of a clamp may grow until some input could make it reach the clamp.

A Clip with a finite end does not commute with factors, but a channel that never reaches the end passes as if there were
none: it may take every factor up to ``end / reach``. Its reach is the largest value that its layer can write,

    reach = sum(max(w, 0) * high + min(w, 0) * low) + b,

over the weights ``w`` of its row, for inputs between ``low`` and ``high`` (interval arithmetic; zeros around a map are
among them). Where inputs end:

1. The frame ends where its grid does.
2. The output of a clamp ends at the clamp, or before it where its channel's reach does.
3. Pools, and whatever moves the frame, end as their input does.
4. Everything else ends where it was seen to end on some frames, times `MARGIN`.

Factors up to there are exact for every picture that keeps the tensors of rule 4 inside their ends. Integers stay inside
unless calibration gives such a tensor a grid that is more than `MARGIN` times as wide as its range on the frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.affine import dequantise
from edgecnn.exact_sums import WEIGHTED
from edgecnn.ops import FloatNode
from edgecnn.quant.calibrate import Frame, collect
from edgecnn.quant.channel_sets import Layer
from edgecnn.quant.float_graph import FloatGraph, read

Doubles = npt.NDArray[np.float64]
Ends = tuple[Doubles, Doubles]
MARGIN = 1.5
MOST = 2.0**16
"""Room of a channel that cannot come near its clamp."""
POOLS = ("AveragePool", "MaxPool")
MOVES = ("Reshape", "Slice", "Transpose")
FRAME_ENDS = np.asarray([0, 255], np.uint8)


def clamp_room(model: ir.Model, frames: Sequence[Frame]) -> Mapping[str, Doubles]:
    """Return the largest factor of every channel by the output of its clamp; below 1 where it may reach the clamp.

    Missing are clamps behind other operators than layers, and those that end at zero or nowhere or without zero.

    Args:
        model: Float graph in normal form with one uint8 NHWC input.
        frames: uint8 (H, W, C) at the model's size.

    Raises:
        CalibrationError: If there is no frame, or a tensor is not finite on one.
    """
    graph = read(model)
    walk = _Walk(graph, {})
    if walk.endless:
        seen = collect(model, walk.endless, frames)
        walk = _Walk(graph, {name: _ends(item.low * MARGIN, item.high * MARGIN) for name, item in seen.items()})
    return walk.room


class _Walk:
    """Walks the nodes in order and notes where tensors end.

    Attributes:
        room: As `clamp_room` returns it.
        endless: What clamped layers read without a known end.
    """

    def __init__(self, graph: FloatGraph, seen: Mapping[str, Ends]) -> None:
        self.room: dict[str, Doubles] = {}
        self.endless: list[str] = []
        self._layers = {node.output: node for node in graph.nodes if node.op in WEIGHTED}
        self._ends = {**seen, graph.frame: _ends(*dequantise(FRAME_ENDS, graph.frame_grid))}
        for node in graph.nodes:
            if node.op == "Clip":
                self._clamp(node)
            elif node.inputs[0] in self._ends and _keeps(node, self._ends[node.inputs[0]]):
                self._ends[node.output] = self._ends[node.inputs[0]]

    def _clamp(self, node: FloatNode) -> None:
        low, high = node.bounds()
        stops = [end != 0 and bool(np.isfinite(end)) for end in (low, high)]
        reach = self._reach(node.inputs[0]) if any(stops) and low <= 0 <= high else None
        if reach is not None:
            ratios = [values / end for values, end, stop in zip(reach, (low, high), stops, strict=True) if stop]
            self.room[node.output] = 1 / np.maximum(np.max(ratios, axis=0), 1 / MOST)
        if np.isfinite([low, high]).all():
            bottom, top = (low, high) if reach is None else reach
            self._ends[node.output] = _ends(np.clip(bottom, low, high), np.clip(top, low, high))

    def _reach(self, name: str) -> Ends | None:
        """Return the smallest and the largest values that a layer can write, shape (O,); None if that is not known."""
        if name not in self._layers:
            return None
        node = self._layers[name]
        if node.inputs[0] not in self._ends:
            self.endless.append(node.inputs[0])
            return None
        layer = Layer(node, np.arange(node.shape(0)[1]), np.arange(node.output_shape[1]))
        low, high = (np.broadcast_to(end, layer.inputs.shape)[layer.columns] for end in self._ends[node.inputs[0]])
        rise, fall = np.maximum(layer.weight, 0).sum(axis=2), np.minimum(layer.weight, 0).sum(axis=2)
        bias = 0.0 if layer.bias is None else layer.bias.ravel()
        return (rise * low + fall * high).sum(axis=1) + bias, (rise * high + fall * low).sum(axis=1) + bias


def _keeps(node: FloatNode, ends: Ends) -> bool:
    return node.op in POOLS or (node.op in MOVES and ends[0].size == 1)


def _ends(low: npt.ArrayLike, high: npt.ArrayLike) -> Ends:
    """Return the ends with zero between them, float64 of shape (channels,), or (1,) for all channels."""
    return np.atleast_1d(np.minimum(low, 0.0)), np.atleast_1d(np.maximum(high, 0.0))
