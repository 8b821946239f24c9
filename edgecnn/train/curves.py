"""Pictures of a training as SVG: loss and score over the steps, and the confusion table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from edgecnn.train.checkpoint import State
from edgecnn.train.job import Confusion

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 800, 190, 70, 24, 36, 56
INK, PALE, GRID, LOSS, SCORE = "#1c2430", "#5b6675", "#dfe4ea", "#b3541e", "#1f5fae"
WINDOWS = 200
"""Points that the loss of all steps is averaged into."""
CELL, CHARACTER, LONGEST = 64, 7.5, 24
_STYLE = f"<style>text{{font:13px sans-serif;fill:{INK}}} .pale{{fill:{PALE}}} .title{{font-weight:bold}}</style>"

Point = tuple[float, float]


def curves(state: State) -> str:
    """Draw the loss (averaged over windows of steps) and the score of every validation, the best one marked."""
    window = max(1, math.ceil(len(state.losses) / WINDOWS))
    losses = [
        (start + len(part) / 2, sum(part) / len(part))
        for start in range(0, len(state.losses), window)
        if (part := state.losses[start : start + window])
    ]
    scores = [(float(row.step), row.validation.score) for row in state.rows]
    best = state.best_row
    title = "score on the validation data"
    if best is not None:
        title += f": {best.validation.score:.4f} at best, at step {best.step}"
    drawn = _panel("loss", losses, state.steps, TOP, LOSS)
    drawn += _panel(title, scores, state.steps, TOP + PANEL + GAP, SCORE)
    if best is not None:
        low, high = _extent([value for _, value in scores])
        x, y = _x(best.step, state.steps), _y(best.validation.score, low, high, TOP + PANEL + GAP)
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{SCORE}"/>')
    return _document(WIDTH, 2 * (PANEL + GAP) + TOP, drawn)


def confusion(table: Confusion) -> str:
    """Draw how often each true class (a row) was called what (a column); the shade is the share of the row."""
    names = [_shown(name) for name in table.labels]
    side = 40 + CHARACTER * max(map(len, names))
    drawn = [_text(side, 20, "called", "title"), _text(8, side - 8, "true", "title")]
    for column, name in enumerate(names):
        x = side + CELL * (column + 0.5)
        drawn.append(f'<text transform="translate({x + 4:.1f} {side - 8:.1f}) rotate(-60)">{escape(name)}</text>')
    for index, (name, counts) in enumerate(zip(names, table.counts, strict=True)):
        y = side + CELL * index
        drawn.append(_text(side - 8, y + CELL / 2 + 4, name, anchor="end"))
        drawn += _cells(counts, index, side, y)
    extent = side + CELL * len(names) + 16
    return _document(extent + CHARACTER * max(map(len, names)) / 2, extent, drawn)


def _cells(counts: Sequence[int], right: int, x: float, y: float) -> list[str]:
    """Draw a row; what was called right is blue, what was not is red."""
    drawn, total = [], max(sum(counts), 1)
    for column, count in enumerate(counts):
        share, colour = count / total, SCORE if column == right else LOSS
        box = f'x="{x + CELL * column:.1f}" y="{y:.1f}" width="{CELL - 2}" height="{CELL - 2}"'
        drawn.append(f'<rect {box} fill="{colour}" fill-opacity="{0.05 + 0.5 * share:.3f}"/>')
        middle = x + CELL * (column + 0.5) - 1
        drawn.append(_text(middle, y + CELL / 2, str(count), "title", "middle"))
        drawn.append(_text(middle, y + CELL / 2 + 17, f"{share:.0%}", "pale", "middle"))
    return drawn


def _panel(title: str, points: Sequence[Point], steps: int, top: float, colour: str) -> list[str]:
    """Draw one curve with its axes."""
    low, high = _extent([value for _, value in points])
    drawn = [_text(LEFT, top - 12, title, "title")]
    for value in _ticks(low, high):
        y = _y(value, low, high, top)
        drawn.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        drawn.append(_text(LEFT - 8, y + 4, f"{value:.4g}", "pale", "end"))
    for value in _ticks(0, steps):
        drawn.append(_text(_x(value, steps), top + PANEL + 18, f"{value:.0f}", "pale", "middle"))
    drawn.append(_text(WIDTH - RIGHT, top + PANEL + 36, "steps", "pale", "end"))
    places = [(_x(step, steps), _y(value, low, high, top)) for step, value in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return [*drawn, f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>']


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """Return the axis's ends: a little beyond the values, never of no length."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or max(abs(high), 1e-3) * 0.1
    return low - margin, high + margin


def _ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers between ``low`` and ``high``: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [index * unit for index in range(math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9) + 1)]


def _x(step: float, steps: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / steps


def _y(value: float, low: float, high: float, top: float) -> float:
    return top + PANEL * (high - value) / (high - low)


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _shown(name: str) -> str:
    """Return a class name without what XML cannot hold, cut to `LONGEST` characters."""
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


def _document(width: float, height: float, drawn: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', _STYLE, ground, *drawn, "</svg>"]) + "\n"
