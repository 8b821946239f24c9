"""Equalise, pair channels, calibrate, choose ranges, turn to integers, round, correct: the whole quantiser in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn import plugins
from edgecnn.exact_sums import WEIGHTED
from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant import bias_correction, layerwise
from edgecnn.quant.calibrate import Frame, collect
from edgecnn.quant.choice import Start, choose
from edgecnn.quant.equalise import equalise
from edgecnn.quant.float_graph import FloatGraph, read
from edgecnn.quant.judge import Judge
from edgecnn.quant.pairing import pair
from edgecnn.quant.placement import Placement, Range, place
from edgecnn.quant.quantise import float_parameters, to_integers
from edgecnn.quant.statistics import Statistics
from edgecnn.quant.tuning import obstacle, tune
from edgecnn.recipe import Recipe

Progress = Callable[[str], None]
OBSERVERS = "edgecnn.quant.observers"
PLAIN = "minmax"
# Means over whole maps: some tens of images settle biases, second moments and the ranges of channels.
FIRST_IMAGES = 32
JUDGING_IMAGES = 64
TUNING_IMAGES = 512
KEPT_BYTES = 2**28
"""What all frames together may hold that are kept."""
MADE_UP_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class Quantised:
    """The quantiser's result.

    Attributes:
        graph: The canonical integer graph.
        statistics: What calibration saw of every tensor with a grid of its own, by its name in the float graph.
        images: Number of calibration frames used.
        observer: Name of the observer whose ranges were taken.
        corrected: Whether biases were corrected.
        tuned: Whether weights and biases were fine-tuned; not where that brought nothing.
        obstacle: An operator without a gradient, because of which nothing can be fine-tuned; see `tuning.obstacle`.
        held_out: Calibration frames that no weight was rounded on; of very few frames, all.
    """

    graph: IntegerGraph
    statistics: Mapping[str, Statistics]
    images: int
    observer: str
    corrected: bool
    tuned: bool = False
    obstacle: str = ""
    held_out: Sequence[Frame] = ()


def quantise(
    model: ir.Model,
    frames: Iterable[Frame],
    recipe: Recipe,
    progress: Progress = lambda what: None,
    needed: Mapping[str, Range] | None = None,
) -> Quantised:
    """Quantise a float graph in normal form whose input is the frame.

    Args:
        model: The float graph.
        frames: uint8 (H, W, C) at the model's size; walked through once.
        recipe: What to ask of the quantiser.
        progress: Called with the name of the stage, once a frame or node.
        needed: What the grid of an output must hold beside all that calibration shows of it, (low, high) in real
            values by the output's name: where decisions are made.

    Raises:
        CalibrationError: If there is no frame, or a tensor is not finite on one.
    """
    is_judged = recipe.judged or recipe.tuning_passes > 0
    wanted = TUNING_IMAGES if recipe.tuning_passes else FIRST_IMAGES + JUDGING_IMAGES * is_judged
    kept = _Kept(frames, max(1, min(wanted, KEPT_BYTES // _frame_bytes(model))))
    stream = iter(kept)
    if recipe.equalise:
        progress("equalising")
        stream = itertools.chain(list(itertools.islice(stream, FIRST_IMAGES)), stream)
        equalise(model, kept.frames[:FIRST_IMAGES])
    pair(model)  # behind equalisation, which changes the weights that meet
    graph = read(model)
    placement = place(graph)
    seen_as = {name: placement.copies.get(name, name) for name in placement.own}
    statistics = collect(model, list(dict.fromkeys(seen_as.values())), stream, lambda: progress("calibrating"))
    of_tensors = {name: statistics[source] for name, source in seen_as.items()}
    shown, held_out, trained_on = _split(kept.frames)
    quantiser = _Quantiser(model, graph, placement, recipe, shown)
    start, plain = (
        Start(
            name, _held(placement, of_tensors, _ranges(name, recipe, of_tensors), needed or {}), recipe.bias_correction
        )
        for name in (recipe.activation_observer, PLAIN)
    )
    if not is_judged:
        integers = quantiser(start.ranges, start.correct, lambda: progress("rounding"))
        return Quantised(integers, statistics, kept.count, start.observer, start.correct, held_out=held_out)
    judge = Judge(model, held_out)
    chosen = choose(quantiser, start, plain, judge.ratios, lambda: progress("choosing"))
    integers = chosen.graph
    stuck = obstacle(integers)
    if recipe.tuning_passes and not stuck:
        integers = tune(
            integers,
            model,
            trained_on,
            judge,
            recipe.tuning_passes,
            recipe.seed,
            lambda: progress("tuning"),
        )
    made_of, tuned = chosen.made_of, integers is not chosen.graph
    return Quantised(integers, statistics, kept.count, made_of.observer, made_of.correct, tuned, stuck, held_out)


def _frame_bytes(model: ir.Model) -> int:
    shape = model.graph.inputs[0].shape
    return int(np.prod(shape.numpy())) if shape is not None else 1


def _ranges(observer: str, recipe: Recipe, statistics: Mapping[str, Statistics]) -> dict[str, Range]:
    choose_range = plugins.load(OBSERVERS, observer).choose
    return {name: choose_range(item, recipe.percentile) for name, item in statistics.items()}


def _held(
    placement: Placement, statistics: Mapping[str, Statistics], ranges: dict[str, Range], needed: Mapping[str, Range]
) -> dict[str, Range]:
    """Return ``ranges`` in which nothing is cut off of the outputs in ``needed``, and what they need is held."""
    for output, (least, most) in needed.items():
        for name in placement.own:
            if placement.group(name) == placement.group(output):
                seen = statistics[name]
                ranges[name] = (min(seen.low, least), max(seen.high, most))
    return ranges


def _split(frames: list[Frame]) -> tuple[list[Frame], list[Frame], list[Frame]]:
    """Return the frames to round on, to judge on and to train on.

    Of few frames two thirds and a third are for rounding and judging, of one the same is for both. Fine-tuning trains
    on all that do not judge.
    """
    rounding = max(min(FIRST_IMAGES, len(frames) * 2 // 3), 1)
    judging = rounding + JUDGING_IMAGES
    return frames[:rounding], frames[rounding:judging] or frames, frames[:rounding] + frames[judging:]


class _Quantiser:
    """Turns ranges into an integer graph, as the recipe says."""

    def __init__(
        self,
        model: ir.Model,
        graph: FloatGraph,
        placement: Placement,
        recipe: Recipe,
        frames: Sequence[Frame],
    ) -> None:
        self._graph, self._placement, self._recipe = graph, placement, recipe
        self._model, self._frames = model, frames
        self._weights = {node.name: float_parameters(node)[0] for node in placement.nodes if node.op in WEIGHTED}
        self._wanted: bias_correction.Wanted | None = None

    def __call__(
        self, ranges: Mapping[str, Range], correct: bool, progress: Callable[[], None] = lambda: None
    ) -> IntegerGraph:
        recipe = self._recipe
        integers = to_integers(self._graph, self._placement, ranges, recipe.weight_range)
        if recipe.rounding == "nearest" and not correct:
            return integers
        shown = layerwise.frames_that_fit(integers, self._frames)
        if correct and self._wanted is None:
            self._wanted = bias_correction.float_outputs(self._model, integers, shown)
        wanted = self._wanted if correct else None
        return layerwise.refine(integers, self._weights, shown, recipe.rounding, wanted, progress)


def draft(model: ir.Model) -> IntegerGraph:
    """Return the integer graph with made-up ranges: its operators and shapes are right, its grids say nothing."""
    graph = read(model)
    placement = place(graph)
    return to_integers(graph, placement, dict.fromkeys(placement.own, MADE_UP_RANGE))


class _Kept:
    """Passes frames on, counts them and keeps the first few."""

    def __init__(self, frames: Iterable[Frame], keep: int) -> None:
        self._source, self._keep = frames, keep
        self.frames: list[Frame] = []
        self.count = 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            if self.count < self._keep:
                self.frames.append(frame.copy())
            self.count += 1
            yield frame
