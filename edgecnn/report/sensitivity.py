"""Where it hurts, on the page: which layers make the noise, in words and drawings, and how the grids of tensors fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecnn.report.charts import Bar, Tick
from edgecnn.report.document import Report
from edgecnn.report.layer_rows import SensitivitySection, TensorRow, TensorSection, WeightRow

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
STANDS_OUT = 0.1
WORTH_NAMING = 0.01
"""Shares of the noise from which a layer is called a culprit in words, and from which it is named after another."""
MADE_UP_FOR = 3.0
"""Decibels by which the whole may be better than the sum before a word is said about it."""
MOST_CULPRITS, MOST_HISTOGRAMS = 6, 6
MOST_DECIBELS = 60
"""What is quieter than the loudest by more than this stands at the bottom of the drawing."""
FAINTEST = 1e-6
"""Share of values that has no height in a histogram, whose scale is logarithmic."""


@dataclass(frozen=True)
class Culprit:
    """One layer's weights or output, and what it does.

    Attributes:
        layer: The node's name.
        part: ``"weights"`` or ``"output"``.
        kind: What the layer is.
        share: Its share of the noise.
        decibels: Signal-to-noise ratio with nothing else quantised, the mean noise over all outputs; None for no noise.
        column: The layer's place in the order of execution, from 0.
    """

    layer: str
    part: str
    kind: str
    share: float
    decibels: float | None
    column: int


def culprits(section: SensitivitySection) -> list[Culprit]:
    """Return all weights and outputs that were measured, the noisiest first."""
    found = []
    for column, row in enumerate(section["layers"]):
        parts = (
            ("weights", row["weights_db"], row["weights_share"]),
            ("output", row["output_db"], row["output_share"]),
        )
        for part, ratios, share in parts:
            if ratios is not None:
                found.append(Culprit(row["layer"], part, row["kind"], share, combined(ratios), column))
    return sorted(found, key=lambda item: -item.share)


def combined(ratios: Sequence[float | None]) -> float | None:
    """Return the ratio with the mean noise of all outputs, each in terms of its own signal; None for no noise."""
    powers = [0.0 if ratio is None else 10 ** (-ratio / 10) for ratio in ratios]
    mean = sum(powers) / max(len(powers), 1)
    return -10 * math.log10(mean) if mean > 0 else None


def sentences(section: SensitivitySection) -> list[str]:
    """Say in words where the noise comes from."""
    worst = [item for item in culprits(section) if item.share > 0]
    if not worst:
        return ["No layer makes any noise at the outputs when it is quantised alone."]
    weights = sum(row["weights_share"] for row in section["layers"])
    return [
        _first(worst[0], section),
        *_next([item for item in worst[1:3] if item.share >= WORTH_NAMING], section),
        f"All weights together make {_share(weights)}, all outputs of layers {_share(1 - weights)}.",
        *_made_up_for(section),
    ]


def _made_up_for(section: SensitivitySection) -> list[str]:
    added, whole = combined(section["sum_db"]), combined(section["whole_db"])
    if added is None or (whole is not None and whole - added < MADE_UP_FOR):
        return []
    return ["Here the layers make up for much of one another's noise, which no layer alone can show."]


def dead_channels(section: TensorSection) -> list[str]:
    """Say in words which layers have channels whose weights are all zero; nothing where none has."""
    rows = [row for row in section["weights"] if row["dead"]]
    if not rows:
        return []
    total, named = sum(row["dead"] for row in rows), ", ".join(f"'{row['layer']}'" for row in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return [
        f"{total} dead channel{'s' * (total > 1)} in {named}{more}: with weights that are all zero they see nothing."
    ]


def _first(worst: Culprit, section: SensitivitySection) -> str:
    if worst.share < STANDS_OUT:
        return f"No layer stands out; the worst, {_named(worst, section)}, has {_share(worst.share)} of the noise."
    verb = "make" if worst.part == "weights" else "makes"
    named = _named(worst, section)
    return f"{named[0].upper()}{named[1:]} {verb} {_share(worst.share)} of the noise."


def _next(others: Sequence[Culprit], section: SensitivitySection) -> list[str]:
    named = [f"{_named(item, section)} ({_share(item.share)})" for item in others]
    return [f"Next: {' and '.join(named)}."] if named else []


def _named(item: Culprit, section: SensitivitySection) -> str:
    """Return e.g. ``the weights of the first depthwise convolution 'conv1'``."""
    same = [column for column, row in enumerate(section["layers"]) if row["kind"] == item.kind]
    place = same.index(item.column)
    order = f"{ORDINALS[place]} " if len(same) > 1 and place < len(ORDINALS) else ""
    return f"the {item.part} of the {order}{item.kind} '{item.layer}'"


def _share(share: float) -> str:
    # The space does not break: a line must not begin with the sign.
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%" if share >= 0.01 else "less than 1\N{NO-BREAK SPACE}%"


@dataclass(frozen=True)
class Mark:
    """A mark in the drawing of layers, 100 by 100 with (0, 0) top left; ``rank`` counts the worst from 1, else 0."""

    x: float
    y: float
    part: str
    rank: int
    label: str


@dataclass(frozen=True)
class Columns:
    """The drawing of layers in order, the noisiest on top.

    Attributes:
        marks: Weights and outputs of all layers that make noise.
        ticks: Ratios in dB.
        whole: Position of the ratio with everything quantised, None if there is no noise.
    """

    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    whole: Tick | None


def columns(section: SensitivitySection) -> Columns:
    """Draw one mark for the weights and one for the output of every layer."""
    found = [item for item in culprits(section) if item.decibels is not None]
    whole = combined(section["whole_db"])
    levels = [item.decibels for item in found if item.decibels is not None] + ([] if whole is None else [whole])
    top = 10 * math.floor(min(levels, default=0.0) / 10)
    steps = min(math.ceil((max(levels, default=0.0) - top) / 10) or 1, MOST_DECIBELS // 10)

    def y(decibels: float) -> float:
        return min(10 * (decibels - top) / steps, 100.0)

    count = len(section["layers"])
    marks = [
        Mark(
            100 * (item.column + 0.5) / count,
            y(item.decibels or 0.0),
            item.part,
            rank if rank <= MOST_CULPRITS else 0,
            f"{item.layer}, {item.part}: {item.decibels:.1f} dB, {_share(item.share)} of the noise",
        )
        for rank, item in enumerate(found, 1)
    ]
    ticks = tuple(Tick(100 * step / steps, f"{top + 10 * step} dB") for step in range(steps + 1))
    return Columns(tuple(reversed(marks)), ticks, None if whole is None else Tick(y(whole), f"{whole:.1f} dB"))


@dataclass(frozen=True)
class Histogram:
    """Values of one tensor, 100 wide and 100 high, with the range that its grid holds.

    Attributes:
        row: The tensor.
        share: The output's share of the noise, None where it was not measured.
        inside: Bars inside the chosen range.
        outside: Bars outside it.
        chosen: Left and right end of the chosen range.
        low: Real value at the left edge.
        high: Real value at the right edge.
    """

    row: TensorRow
    share: float | None
    inside: tuple[Bar, ...]
    outside: tuple[Bar, ...]
    chosen: tuple[float, float]
    low: float
    high: float


def histogram(row: TensorRow, share: float | None) -> Histogram:
    """Draw the values that calibration saw, their shares on a logarithmic scale from `FAINTEST` to 1."""
    (seen_low, seen_high), (chosen_low, chosen_high) = row["observed"], row["chosen"]
    low, high = min(seen_low, chosen_low), max(seen_high, chosen_high)
    width = (high - low) or 1.0
    step = (seen_high - seen_low) / max(len(row["histogram"]), 1)
    bars: dict[bool, list[Bar]] = {True: [], False: []}
    for index, part in enumerate(row["histogram"]):
        left = seen_low + index * step
        height = 100 * (1 - math.log(max(part, FAINTEST)) / math.log(FAINTEST))
        if height > 0:
            bar = Bar(100 * (left - low) / width, 100 * step / width, 100 - height, height, f"{part:.2%}")
            bars[chosen_low <= left + step / 2 <= chosen_high].append(bar)
    ends = (100 * (chosen_low - low) / width, 100 * (chosen_high - low) / width)
    return Histogram(row, share, tuple(bars[True]), tuple(bars[False]), ends, low, high)


@dataclass(frozen=True)
class Fit:
    """A layer's output and weights and how their grids fit, None where it has none."""

    layer: str
    tensor: TensorRow | None
    weights: WeightRow | None


@dataclass(frozen=True)
class Shown:
    """What the page shows; parts are empty where they were not measured.

    Attributes:
        sentences: Where the noise comes from, in words.
        dead: Which channels are dead, in words.
        culprits: The noisiest weights and outputs.
        columns: The drawing of layers.
        sum: Ratio with the noise of all layers added up.
        whole: Ratio with everything quantised.
        histograms: Tensors whose rounding hurts most, else those that saturate most.
        fits: How the grids of all layers fit, in order of execution.
    """

    sentences: tuple[str, ...]
    dead: tuple[str, ...]
    culprits: tuple[Culprit, ...]
    columns: Columns | None
    sum: float | None
    whole: float | None
    histograms: tuple[Histogram, ...]
    fits: tuple[Fit, ...]


def shown(report: Report) -> Shown | None:
    """Return what the page shows of the sections ``sensitivity`` and ``tensors``; None where both are absent."""
    section, tensors = report.get("sensitivity"), report.get("tensors")
    if section is None and tensors is None:
        return None
    ranked = [] if section is None else [item for item in culprits(section) if item.share > 0]
    return Shown(
        sentences=() if section is None else tuple(sentences(section)),
        dead=tuple(dead_channels(tensors)) if tensors else (),
        culprits=tuple(ranked[:MOST_CULPRITS]),
        columns=None if section is None else columns(section),
        sum=None if section is None else combined(section["sum_db"]),
        whole=None if section is None else combined(section["whole_db"]),
        histograms=_worst_tensors(report, {item.layer: item.share for item in ranked if item.part == "output"}),
        fits=_fits(tensors) if tensors else (),
    )


def _worst_tensors(report: Report, shares: Mapping[str, float]) -> tuple[Histogram, ...]:
    tensors = report.get("tensors")
    drawn = [row for row in tensors["activations"] if row["histogram"]] if tensors else []

    def badness(row: TensorRow) -> tuple[float, float]:
        return -shares.get(row["layer"], 0.0), -(row["below"] + row["above"])

    return tuple(histogram(row, shares.get(row["layer"])) for row in sorted(drawn, key=badness)[:MOST_HISTOGRAMS])


def _fits(tensors: TensorSection) -> tuple[Fit, ...]:
    rows = {row["layer"]: row for row in tensors["activations"]}
    weights = {row["layer"]: row for row in tensors["weights"]}
    return tuple(Fit(name, rows.get(name), weights.get(name)) for name in dict.fromkeys([*rows, *weights]))
