"""The tables of the training benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import training_figures
import training_lanes

Result = Mapping[str, Any]


def training(name: str, folds: Sequence[Result]) -> None:
    """Print how the folds of a case were trained."""
    options = " ".join(folds[0]["training"]["options"])
    seconds = ", ".join(f"{fold['training']['seconds']:.0f}" for fold in folds)
    print(f"\n{name}: {len(folds)} fold(s), edgecnn train {options}; {seconds} s, data checks included")


def inspections(folds: Sequence[Result], engines: Sequence[str]) -> None:
    """Print the figures of all folds, float beside every engine."""
    pixels = [fold["defective_pixels"] for fold in folds]
    sections = {engine: [fold["engines"][engine] for fold in folds] for engine in engines}
    own = sections[engines[0]]
    figures = {"float": training_figures.inspection(own, "float", pixels)}
    figures |= {engine: training_figures.inspection(found, "int8", pixels) for engine, found in sections.items()}
    counts = [fold["inspection"] for fold in own]
    print(
        f"{sum(item['defective'] for item in counts)} defective, {sum(item['good'] for item in counts)} good pictures"
    )
    print("mean: over the folds; all: over the pictures or pixels of all folds together")
    _header("", figures, "most lost, points")
    for name, before in figures["float"].items():
        after = [figures[engine][name] for engine in engines]
        if any(value is not None for value in (before, *after)):
            _row(name, [before, *after], training_figures.lost(name, before, after))
    if wanted := _option(folds[0]["training"]["options"], "--false-rejects"):
        print(f"share of false rejects that was asked for: {wanted}")
    _kinds(own, engines[0])


def _kinds(sections: Sequence[Result], engine: str) -> None:
    """Print what becomes of every kind, with one engine."""
    named = training_figures.by_kind(sections, "int8")
    print(f"kind by kind, INT8 on {engine}")
    for kind, (wrong, total) in training_figures.wrong_by_kind(sections, "int8").items():
        text = f"; {named[kind][0]} called by their name" if kind in named else ""
        print(f"  {kind:12}{wrong:4} of {total:3} decided wrongly{text}")


def lanes(folds: Sequence[Result], public: Sequence[training_lanes.Frame], engines: Sequence[str]) -> None:
    """Print the F1 of every source and of all together."""
    frames = training_lanes.together([frame for fold in folds for frame in fold["frames"]], public)
    models = ["float", *engines]
    others = [training_lanes.PUBLIC, training_lanes.PUBLIC_NEAREST] if public else []
    for how, title, shown in (
        ("pooled", "F1 at 7 px, markings of both sides together", [*models, *others]),
        ("sided", "F1 at 7 px, each side for itself", models),
    ):
        _header(title, shown, "most lost, points")
        for source, values in training_lanes.f1_rows(frames, shown, how):
            _row(source, values, training_figures.lost("", values[0], values[1 : len(models)]))
    for model in (engines[0], *others):
        if (ends := training_lanes.interval(frames, model)) is not None:
            print(f"{model}, both sides together: 95 % interval {ends[0]:.3f} to {ends[1]:.3f}")
    _kinds_of_lines(folds, engines)


def _kinds_of_lines(folds: Sequence[Result], engines: Sequence[str]) -> None:
    found = {f"INT8, {engine}": [fold["engines"][engine]["lanes"]["int8"] for fold in folds] for engine in engines}
    found = {"float": [fold["engines"][engines[0]]["lanes"]["float"] for fold in folds], **found}
    print("mean over folds: dashed or solid is right; TuSimple's accuracy, FP, FN")
    for name, rows in found.items():
        kinds = [None if row["kinds"] is None else row["kinds"]["value"] for row in rows]
        others = [[row[f"tusimple_{what}"] for row in rows] for what in ("accuracy", "fp", "fn")]
        print(f"  {name:20}" + "".join(_cell(_mean(values)) for values in (kinds, *others)))


def speed(found: Mapping[str, Result]) -> None:
    """Print milliseconds a frame, and what maps on the Edge TPU."""
    print(f"\n{'one thread, frame to verdict, ms':28}{'frame':>9}{'engine':>13}{'frames':>8}{'median':>8}{'p95':>8}")
    for name, item in found.items():
        for engine, times in item["engines"].items():
            print(
                f"{name:28}{item['frame']:>9}{engine:>13}{times['frames']:8}{times['median']:8.2f}{times['p95']:8.2f}"
            )
    print("\nEdge TPU, as `edgecnn inspect --target coral` has it")
    for name, item in found.items():
        tpu = item["edge_tpu"]
        room = f"SRAM {tpu['sram_bytes'] / 1e6:.1f} MB, {tpu['weight_bytes'] / 1e6:.1f} MB of it for weights"
        print(
            f"{name:28}{tpu['mapped']} of {tpu['ops']} ops map, {tpu['parameters']:,} parameters. {tpu['remark']}", room
        )


def _header(title: str, columns: Sequence[str] | Mapping[str, Any], last: str) -> None:
    print(f"{title:28}" if len(title) < 28 else f"{title}\n{'':28}", end="")
    print("".join(f"{column:>17}" for column in columns) + f"{last:>20}")


def _row(name: str, values: Sequence[float | None], lost: float | None) -> None:
    print(f"{name:28}" + "".join(map(_cell, values)) + ("" if lost is None else f"{lost:20.2f}"))


def _cell(value: float | None) -> str:
    return f"{'-':>17}" if value is None else f"{value:17.4f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _option(options: Sequence[str], name: str) -> str:
    return options[options.index(name) + 1] if name in options else ""
