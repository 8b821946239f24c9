"""What is kept is what the judge finds best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgecnn.quant.choice import Start, choose
from edgecnn.quant.judge import Judge
from edgecnn.quant.pipeline import draft, quantise
from edgecnn.recipe import load_recipe
from tests.quant.networks import FAST, SmallMobileNet, float_outputs, in_normal_form, integer_outputs, pictures, settled

RANGES = {"a": (-1.0, 2.0), "b": (0.0, 4.0)}
PLAIN = {"a": (-2.0, 3.0), "b": (0.0, 6.0)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return in_normal_form(settled(SmallMobileNet()))


class Table:
    """A quantiser and a judge for whom a graph's name is how good it is."""

    def __init__(self, graph, worth) -> None:
        self.graph, self.worth, self.asked = graph, worth, []

    def __call__(self, ranges, correct):
        self.asked.append((ranges, correct))
        return replace(self.graph, name=str(self.worth(ranges, correct)))


def by_name(graph) -> tuple[float, ...]:
    return (float(graph.name),)


@pytest.mark.parametrize(
    "best",
    [
        Start("mse", RANGES, True),
        Start("minmax", PLAIN, True),
        Start("mse", RANGES, False),
        Start("minmax", PLAIN, False),
    ],
)
def test_the_best_of_the_ways_is_chosen(model, best):
    def worth(ranges, correct):
        return (ranges == best.ranges) + (correct == best.correct)

    assert (
        choose(Table(draft(model), worth), Start("mse", RANGES, True), Start("minmax", PLAIN, True), by_name).made_of
        == best
    )


def test_equal_ranges_are_not_tried_twice(model):
    table = Table(draft(model), lambda ranges, correct: 0)
    assert choose(table, Start("mse", RANGES, False), Start("minmax", RANGES, False), by_name).made_of == Start(
        "mse", RANGES, False
    )
    assert table.asked == [(RANGES, False)]


def test_the_judge_measures_the_ratio_of_outputs(model):
    frames = pictures(6, seed=8)
    graph = quantise(model, pictures(8), FAST).graph
    wanted, got = float_outputs(model, frames), integer_outputs(graph, frames)
    clean = wanted.reshape(6, -1) - wanted.reshape(6, -1).mean(1, keepdims=True)
    error = (got - wanted).reshape(6, -1)
    error = error - error.mean(1, keepdims=True)
    assert Judge(model, frames)(graph) == pytest.approx(10 * np.log10((clean**2).sum() / (error**2).sum()), abs=0.01)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_few_pictures_are_enough(model, count):
    result = quantise(model, pictures(count), replace(load_recipe("best"), tuning_passes=1))
    assert result.images == count


def test_no_output_gets_less_than_plain_ranges_give(model):
    """On average the start is better; one of its outputs is not."""

    def by_output(graph) -> tuple[float, ...]:
        return {"start": (40.0, 20.0), "plain": (25.0, 25.0), "uncorrected": (26.0, 24.95)}[graph.name]

    def worth(ranges, correct):
        return "uncorrected" if not correct else "start" if ranges == RANGES else "plain"

    start, plain = Start("mse", RANGES, True), Start("minmax", PLAIN, True)
    found = choose(Table(draft(model), worth), start, plain, by_output)
    # Uncorrected it is better on average, and within what the judge's pictures tell apart on the other output.
    assert (found.graph.name, found.decibels) == ("uncorrected", pytest.approx(25.475))
    worse = choose(Table(draft(model), lambda ranges, correct: worth(ranges, True)), start, plain, by_output)
    assert worse.graph.name == "plain"
