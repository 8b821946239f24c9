"""Try several ways, and keep what is best on pictures that neither ranges nor weights have seen.

What helps most networks harms some: ranges that cut rare values off, corrected biases. So it is tried without them too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.judge import Judge
from edgecnn.quant.placement import Range


class Quantiser(Protocol):
    """Makes an integer graph."""

    def __call__(self, ranges: Mapping[str, Range], correct: bool) -> IntegerGraph:
        """Use ``ranges``, (low, high) by tensor name; ``correct`` says whether biases are corrected."""


@dataclass(frozen=True)
class Start:
    """What a graph is made of: the observer's name, its ranges by tensor, and whether biases are corrected."""

    observer: str
    ranges: Mapping[str, Range]
    correct: bool


@dataclass(frozen=True)
class Found:
    """A graph that was tried: what it was made of, and how good it is in decibels."""

    graph: IntegerGraph
    made_of: Start
    decibels: float


def choose(
    quantiser: Quantiser,
    start: Start,
    plain: Start,
    judge: Judge,
    progress: Callable[[], None] = lambda: None,
) -> Found:
    """Return the best of: ``start``, of ``plain``, and the better of both without correction."""
    best = _try(quantiser, start, judge, progress)
    if plain.ranges != start.ranges:
        best = _better(best, _try(quantiser, plain, judge, progress))
    if start.correct:
        best = _better(best, _try(quantiser, replace(best.made_of, correct=False), judge, progress))
    return best


def _try(quantiser: Quantiser, start: Start, judge: Judge, progress: Callable[[], None]) -> Found:
    graph = quantiser(start.ranges, start.correct)
    progress()
    return Found(graph, start, judge(graph))


def _better(first: Found, second: Found) -> Found:
    return second if second.decibels > first.decibels else first
