"""Calibrate, choose ranges, turn to integers, correct biases: the whole quantiser in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn import plugins
from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant import bias_correction, layerwise
from edgecnn.quant.calibrate import Frame, collect
from edgecnn.quant.float_graph import read
from edgecnn.quant.matrices import WEIGHTED
from edgecnn.quant.placement import Placement, place
from edgecnn.quant.quantise import float_parameters, to_integers
from edgecnn.quant.statistics import Statistics
from edgecnn.recipe import Recipe

Progress = Callable[[str], None]
OBSERVERS = "edgecnn.quant.observers"
# Biases and second moments are means over whole maps: some tens of images settle them.
LAYERWISE_IMAGES = 32
MADE_UP_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class Quantised:
    """The quantiser's result.

    Attributes:
        graph: The canonical integer graph.
        statistics: What calibration saw of every tensor with a grid of its own, by its name in the float graph.
        images: Number of calibration frames used.
    """

    graph: IntegerGraph
    statistics: Mapping[str, Statistics]
    images: int


def quantise(
    model: ir.Model,
    frames: Iterable[Frame],
    recipe: Recipe,
    weight_bits: int = 8,
    progress: Progress = lambda what: None,
) -> Quantised:
    """Quantise a float graph in normal form whose input is the frame.

    Args:
        model: The float graph.
        frames: uint8 (H, W, C) at the model's size; walked through once.
        recipe: What to ask of the quantiser.
        weight_bits: 8, or fewer where a target narrows the grid.
        progress: Called with the name of the stage, once a frame or node.

    Raises:
        CalibrationError: If there is no frame, or a tensor is not finite on one.
    """
    graph = read(model)
    placement = place(graph)
    observer = plugins.load(OBSERVERS, recipe.activation_observer)
    layerwise_wanted = recipe.bias_correction or recipe.rounding != "nearest"
    kept = _Kept(frames, LAYERWISE_IMAGES if layerwise_wanted else 0)
    seen_as = {name: placement.copies.get(name, name) for name in placement.own}
    names = list(dict.fromkeys(seen_as.values()))
    statistics = collect(model, names, kept, lambda: progress("calibrating"))
    ranges = {name: observer.choose(statistics[source], recipe.percentile) for name, source in seen_as.items()}
    integers = to_integers(graph, placement, ranges, weight_bits, recipe.weight_range)
    if layerwise_wanted:
        shown = layerwise.frames_that_fit(integers, kept.first)
        side = bias_correction.float_side(model, integers, _float_weights(placement, integers), shown)
        integers = layerwise.refine(
            integers, side, shown, recipe.rounding, recipe.bias_correction, weight_bits, lambda: progress("rounding")
        )
    return Quantised(integers, statistics, kept.count)


def draft(model: ir.Model) -> IntegerGraph:
    """Return the integer graph with made-up ranges: its operators and shapes are right, its grids say nothing."""
    graph = read(model)
    placement = place(graph)
    return to_integers(graph, placement, dict.fromkeys(placement.own, MADE_UP_RANGE))


class _Kept:
    """Passes frames on, counts them and keeps the first few."""

    def __init__(self, frames: Iterable[Frame], keep: int) -> None:
        self._frames, self._keep = frames, keep
        self.first: list[Frame] = []
        self.count = 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self.count < self._keep:
                self.first.append(frame.copy())
            self.count += 1
            yield frame


def _float_weights(placement: Placement, graph: IntegerGraph) -> dict[str, npt.NDArray[np.float32]]:
    weighted = {node.name for node in graph.nodes if node.op in WEIGHTED}
    nodes = [node for node in placement.nodes if node.name in weighted]
    return {node.name: float_parameters(node)[0] for node in nodes}
