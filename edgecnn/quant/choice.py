"""Try several ways, and keep what is best on pictures that neither ranges nor weights have seen.

What helps most networks harms some: ranges that cut rare values off, corrected biases. So it is tried without them too.
What helps on average may harm one of several outputs: no way is taken that gives less on one than plain ranges do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.placement import Range

TOLERANCE = 0.1
"""Decibels that the judge's few pictures do not tell apart."""
JudgeOutputs = Callable[[IntegerGraph], tuple[float, ...]]
"""Says how good every output of a graph is; see `edgecnn.quant.judge.Judge.ratios`."""


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
    """A graph that was tried: what it was made of, and how good each output is, in decibels."""

    graph: IntegerGraph
    made_of: Start
    ratios: tuple[float, ...]

    @property
    def decibels(self) -> float:
        """The mean over the outputs, 0 without any."""
        return float(np.mean(self.ratios)) if self.ratios else 0.0


def choose(
    quantiser: Quantiser,
    start: Start,
    plain: Start,
    judge: JudgeOutputs,
    progress: Callable[[], None] = lambda: None,
) -> Found:
    """Return the best of: ``start``, of ``plain``, and the better of both without correction.

    None but ``plain`` itself gives less on any output than ``plain``, but for `TOLERANCE`.
    """
    best = floor = _try(quantiser, start, judge, progress)
    if plain.ranges != start.ranges:
        floor = _try(quantiser, plain, judge, progress)
        best = _better(best, floor, floor)
    if start.correct:
        best = _better(best, _try(quantiser, replace(best.made_of, correct=False), judge, progress), floor)
    return best


def _try(quantiser: Quantiser, start: Start, judge: JudgeOutputs, progress: Callable[[], None]) -> Found:
    graph = quantiser(start.ranges, start.correct)
    progress()
    return Found(graph, start, judge(graph))


def _better(first: Found, second: Found, floor: Found) -> Found:
    """Return the better one of those that keep what ``floor`` gives on every output."""

    def rank(found: Found) -> tuple[bool, float]:
        pairs = zip(found.ratios, floor.ratios, strict=True)
        return all(ratio >= least - TOLERANCE for ratio, least in pairs), found.decibels

    return max(first, second, key=rank)
