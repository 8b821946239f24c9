"""Try several ways, and keep what is best on pictures that neither ranges nor weights have seen.

What helps most networks harms some: ranges that cut rare values off, corrected biases. So `choose` tries without them.

Where the integers fall decides some tenths of a decibel more, up or down, and no layer can foresee it: only the whole
network shows it. So `search` tries that too: all ranges are moved a little at random, weights rounded and biases
corrected anew. Better ranges are where the next trial starts, worse ones are dropped.

Source: Rechenberg 1973, "Evolutionsstrategie", the (1+1) strategy with a fixed step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.judge import Judge
from edgecnn.quant.placement import Range

STEP = 0.03
"""Standard deviation of the logarithm of a range's factor."""


class Quantiser(Protocol):
    """Makes an integer graph."""

    def __call__(self, ranges: Mapping[str, Range], correct: bool) -> IntegerGraph:
        """Use ``ranges``, (low, high) by tensor name; ``correct`` says whether biases are corrected."""


@dataclass(frozen=True)
class Start:
    """What a graph is made of: ranges by tensor name, and whether biases are corrected."""

    ranges: Mapping[str, Range]
    correct: bool


@dataclass(frozen=True)
class Found:
    """The best so far: its graph, what it was made of, and how good it is in decibels."""

    graph: IntegerGraph
    made_of: Start
    decibels: float


def choose(
    quantiser: Quantiser,
    start: Start,
    plain: Mapping[str, Range],
    judge: Judge,
    progress: Callable[[], None] = lambda: None,
) -> Found:
    """Return the best of: ``start``, the same with the ranges ``plain``, and the better of both without correction."""
    best = _try(quantiser, start, judge, progress)
    if plain != start.ranges:
        best = _better(best, _try(quantiser, Start(plain, start.correct), judge, progress))
    if start.correct:
        best = _better(best, _try(quantiser, Start(best.made_of.ranges, False), judge, progress))
    return best


def search(
    quantiser: Quantiser,
    start: Found,
    judge: Judge,
    trials: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Found:
    """Return the best of ``start`` and of ``trials`` graphs with ranges near it.

    Args:
        quantiser: Makes the graphs.
        start: Where to begin.
        judge: Says how good a graph is.
        trials: How many graphs are made.
        seed: Seed of the moves.
        progress: Called once a trial.
    """
    rng = np.random.default_rng(seed)
    best = start
    for _ in range(trials):
        moved = Start(_moved(best.made_of.ranges, rng), best.made_of.correct)
        best = _better(best, _try(quantiser, moved, judge, progress))
    return best


def _try(quantiser: Quantiser, start: Start, judge: Judge, progress: Callable[[], None]) -> Found:
    graph = quantiser(start.ranges, start.correct)
    progress()
    return Found(graph, start, judge(graph))


def _better(first: Found, second: Found) -> Found:
    return second if second.decibels > first.decibels else first


def _moved(ranges: Mapping[str, Range], rng: np.random.Generator) -> dict[str, Range]:
    factors = np.exp(rng.normal(0.0, STEP, len(ranges))).tolist()
    return {name: (low * f, high * f) for (name, (low, high)), f in zip(ranges.items(), factors, strict=True)}
