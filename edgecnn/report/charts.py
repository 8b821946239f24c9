"""Geometry of the report's drawings, numbers only: the templates draw, so that all text is escaped in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.report.document import LayerRow, OutputProof
from edgecnn.runtime.evaluation import section

LSB_KEYS = ("0", "1", "2", ">2")
# Real values that may be marked on the scale of ranges, the most telling first; labels need this much room.
_TICKS = (0.0, 4.0, -4.0, 1.0, -1.0, 16.0, -16.0, 64.0, -64.0, 256.0, -256.0, 1024.0, -1024.0)
_CLOSE = 10.0


@dataclass(frozen=True)
class Bar:
    """A box of a drawing that is 100 high: its left edge and width in columns, its top and height, and what it says."""

    x: float
    width: float
    y: float
    height: float
    label: str


@dataclass(frozen=True)
class Tick:
    """A line across a drawing that is 100 high, and what stands beside it."""

    y: float
    label: str


@dataclass(frozen=True)
class Columns:
    """A drawing of one column a layer.

    Attributes:
        count: Number of columns: the drawing's width.
        bars: At most one a column.
        ticks: Lines across, from top to bottom.
    """

    count: int
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


def shares(layers: Sequence[LayerRow], key: str) -> Columns:
    """Draw each layer's share of a total, ``key`` being ``"macs"`` or ``"parameters"``.

    Layers without any are left out.
    """
    numbers = [(row["name"], float(row["macs"] if key == "macs" else row["parameters"])) for row in layers]
    numbers = [(name, value) for name, value in numbers if value > 0]
    total, most = sum(value for _, value in numbers), max((value for _, value in numbers), default=1.0)
    bars = tuple(
        Bar(index + 0.1, 0.8, 100 - 100 * value / most, 100 * value / most, f"{name}: {value / total:.1%}")
        for index, (name, value) in enumerate(numbers)
    )
    ticks = (Tick(0, f"{most / total:.0%}"), Tick(100, "0")) if total else ()
    return Columns(max(len(bars), 1), bars, ticks)


def ranges(layers: Sequence[LayerRow]) -> Columns:
    """Draw the range of every layer's grid on a scale that is linear near 0 and logarithmic beyond."""
    known = [(row["name"], row["low"], row["high"]) for row in layers]
    spans = [(name, low, high) for name, low, high in known if low is not None and high is not None]
    bottom = _squeezed(min((low for _, low, _ in spans), default=-1.0))
    top = _squeezed(max((high for _, _, high in spans), default=1.0))
    height = max(top - bottom, 1e-9)

    def y(value: float) -> float:
        return 100 * (top - _squeezed(value)) / height

    bars = tuple(
        Bar(index + 0.15, 0.7, y(high), max(y(low) - y(high), 0.5), f"{name}: {low:.3g} to {high:.3g}")
        for index, (name, low, high) in enumerate(spans)
    )
    ticks = [Tick(y(value), f"{value:g}") for value in _TICKS if bottom <= _squeezed(value) <= top]
    return Columns(max(len(bars), 1), bars, _spaced(ticks))


def _spaced(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Leave out what would stand on top of a tick that is named before it, and sort from top to bottom."""
    kept: list[Tick] = []
    for tick in ticks:
        if all(abs(tick.y - other.y) >= _CLOSE for other in kept):
            kept.append(tick)
    return tuple(sorted(kept, key=lambda tick: tick.y))


def _squeezed(value: float) -> float:
    return math.copysign(math.log2(1 + abs(value)), value)


@dataclass(frozen=True)
class Part:
    """One part of a bar that is 100 long: where it begins, how long it is, which colour step it has, what it says."""

    x: float
    width: float
    step: int
    label: str


def distances(proof: OutputProof) -> tuple[Part, ...]:
    """Draw how many elements are 0, 1, 2 and more LSB off the reference."""
    counts = proof["histogram"]
    total = sum(counts) or 1
    parts, x = [], 0.0
    for step, (key, count) in enumerate(zip(LSB_KEYS, counts, strict=True)):
        width = 100 * count / total
        if count:
            parts.append(Part(x, width, step, f"{key} LSB: {count / total:.3%}"))
        x += width
    return tuple(parts)


@dataclass(frozen=True)
class Interval:
    """A share with its interval on an axis from ``first`` to 1: positions of low, value and high, 0..100."""

    low: float
    value: float
    high: float
    first: float


def interval(share: section.Interval, first: float | None = None) -> Interval:
    """Place a share and its interval on an axis that ends at 1.

    Args:
        share: The share.
        first: Where the axis begins; None for a round number below the interval.
    """
    first = axis(share) if first is None else first
    span = 1 - first
    low, value, high = (100 * (number - first) / span for number in (share["low"], share["value"], share["high"]))
    return Interval(low, value, high, first)


def axis(*shares: section.Interval) -> float:
    """Return a round number below all intervals, for an axis that ends at 1."""
    return max(0.0, math.floor((min(share["low"] for share in shares) - 0.005) * 20) / 20)
