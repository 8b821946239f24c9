"""Many networks, every recipe: how far INT8, run by ONNX Runtime, is from the float network.

    EDGECNN_DATA=../shared/data python -m benchmarks.networks
    EDGECNN_DATA=../shared/data python -m benchmarks.networks --only convnet --only resnet20 --recipes fast,default

The yardstick is the plainest quantiser there is: ranges by minimum and maximum, weights rounded to nearest, nothing
corrected, on as many pictures as the recipe beside it takes. No recipe may give any output of any network a lower
signal-to-quantisation-noise ratio than it does.
The networks called ``digit-net`` are MobileNetV2 in small; ``bottlenecks``, ``relu6`` and ``everywhere`` have channels
a hundred times larger than the others (`tests/end_to_end/hard_case.py`). Networks called ``random`` have no trained
weights: their classes mean nothing, but their noise adds up as in any other.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from benchmarks.network_cases import CASES, Case, Frame, Place, Values
from edgecnn.affine import dequantise
from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import Recipe, ladder, load_recipe, recipes
from edgecnn.runtime.evaluation.statistics import sqnr_db

NEAREST = Recipe(
    name="nearest",
    description="the yardstick: plain ranges, nothing corrected",
    activation_observer="minmax",
    weight_range="minmax",
    bias_correction=False,
)
TOLERANCE = 0.05
"""Decibels that count as equal."""
HEADER = f"{'network':24}{'recipe':17}{'agreement':>10}{'float':>9}{'INT8':>9}{'seconds':>9}  SQNR of every output, dB"


@dataclass(frozen=True)
class Row:
    """What one recipe made of one network.

    Attributes:
        recipe: Its name.
        sqnr: Decibels of every output.
        agreement: Share of equal decisions.
        right: Share of right decisions, float and INT8; None without labels.
        seconds: For the quantiser alone.
    """

    recipe: str
    sqnr: list[float]
    agreement: float
    right: tuple[float, float] | None
    seconds: float

    def worse_than(self, other: Row) -> bool:
        """Say whether any output is further from float than with ``other``."""
        return any(own < theirs - TOLERANCE for own, theirs in zip(self.sqnr, other.sqnr, strict=True))


def in_normal_form(case: Case) -> ir.Model:
    """Rewrite the network as a build does: normal form, the frame as its input."""
    model = case.model.clone()
    normalise(model)
    FrameInput(case.expects.mean, case.expects.std, case.expects.color)(model)
    FrameOutput()(model)
    return model


def float_outputs(model: ir.Model, frames: Sequence[Frame]) -> list[Values]:
    """Return every output of the float network, (images, ...) each."""
    runner = FloatModel(model, threads=2)
    return _stacked([runner({"frame": frame[None]}) for frame in frames])


def integer_outputs(graph: IntegerGraph, frames: Sequence[Frame]) -> list[Values]:
    """Return every output of the integer network, run by ONNX Runtime, as real values."""
    specs = [graph.spec(name) for name in graph.outputs]
    with artefact.opened("onnxruntime", graph, threads=2) as engine:
        stacked = _stacked([engine.run([frame[None]]) for frame in frames])
    return [
        values if spec.quant is None else dequantise(values, spec.quant)
        for values, spec in zip(stacked, specs, strict=True)
    ]


def _stacked(runs: list[list[npt.NDArray[Any]]]) -> list[Values]:
    """Stack each output over the images, without the batch axis of classifiers."""
    return [
        np.stack([item.reshape(-1) if item.ndim == 2 and len(item) == 1 else item for item in column])
        for column in zip(*runs, strict=True)
    ]


def rows(case: Case, wanted: Sequence[Recipe]) -> Iterator[tuple[Row, Row]]:
    """Quantise the network with every recipe and judge each; yield it with the yardstick on the same pictures."""
    model = in_normal_form(case)
    reference = float_outputs(model, case.evaluation)
    yardsticks: dict[int, Row] = {}
    for recipe in wanted:
        count = min(recipe.samples or len(case.calibration), len(case.calibration))
        if count not in yardsticks:
            plain = replace(NEAREST, name=f"nearest, {count}", samples=count)
            yardsticks[count] = judged(case, model, plain, reference)
        yield judged(case, model, recipe, reference), yardsticks[count]


def judged(case: Case, model: ir.Model, recipe: Recipe, reference: list[Values]) -> Row:
    """Quantise the network with one recipe and compare it with the float outputs ``reference``."""
    begun = time.perf_counter()
    graph = quantise(model.clone(), case.calibration[: recipe.samples or None], recipe).graph
    seconds = time.perf_counter() - begun
    got = integer_outputs(graph, case.evaluation)
    sqnr = [sqnr_db(first, second) for first, second in zip(reference, got, strict=True)]
    right = None
    if case.labels is not None:
        right = _right(reference[0], case.labels), _right(got[0], case.labels)
    return Row(recipe.name, sqnr, case.agreement(reference, got), right, seconds)


def _right(values: Values, labels: npt.NDArray[np.int64]) -> float:
    return float(np.mean(values.argmax(1) == labels))


def show(name: str, row: Row, remark: str = "") -> None:
    """Print a row."""
    right = f"{row.right[0]:9.2%}{row.right[1]:9.2%}" if row.right else f"{'':18}"
    noise = " ".join(f"{value:.1f}" for value in row.sqnr)
    print(f"{name:24}{row.recipe:17}{row.agreement:10.2%}{right}{row.seconds:9.1f}  {noise}{remark}", flush=True)


def show_all(name: str, case: Case, wanted: Sequence[Recipe]) -> bool:
    """Print the rows of a network, each yardstick once; return whether every recipe keeps up with its own."""
    shown, kept_up = set[str](), True
    for row, yardstick in rows(case, wanted):
        if yardstick.recipe not in shown:
            show(name, yardstick)
        shown.add(yardstick.recipe)
        worse = row.worse_than(yardstick)
        show(name, row, f"   WORSE than {yardstick.recipe}" if worse else "")
        kept_up &= not worse
    return kept_up


def by_cost() -> list[str]:
    """Return the names of all recipes, those of the ladder first and in its order."""
    return list(dict.fromkeys([*ladder(), *recipes()]))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CASES, help="a network; all without")
    parser.add_argument("--recipes", default=",".join(by_cost()), help="names, separated by commas")
    parser.add_argument("--samples", type=int, default=500, help="most pictures to calibrate on, and to judge on")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGECNN_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"), help="where trained weights are kept")
    return parser.parse_args()


def main() -> None:
    """Print the table; the exit status is 1 if a recipe falls behind nearest min-max."""
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    place = Place(arguments.data, arguments.work, arguments.samples)
    wanted = [load_recipe(name) for name in arguments.recipes.split(",")]
    print(HEADER, flush=True)
    kept_up = [show_all(name, CASES[name](place), wanted) for name in arguments.only or CASES]
    sys.exit(not all(kept_up))


if __name__ == "__main__":
    main()
