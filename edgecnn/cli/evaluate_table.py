"""What ``edgecnn evaluate`` prints beside a threshold: ranking, kinds, names of defects, pixels; and of lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecnn.cli import console

if TYPE_CHECKING:
    from edgecnn.runtime.evaluation.section import (
        ConfusionSection,
        DecisionsSection,
        GroupRow,
        Interval,
        LaneFigures,
        LaneSection,
        Matched,
        OperatingPoint,
        PixelSection,
        RankingSection,
    )

MOST_GROUPS = 20


def show(found: DecisionsSection) -> None:
    """Print it."""
    if ranking := found.get("ranking"):
        _show_ranking(ranking)
    for title, groups in (("kind by kind", found.get("by_kind")), ("source by source", found.get("by_source"))):
        if groups:
            _show_groups(title, groups)
    if confusion := found.get("confusion"):
        _show_names(confusion)
    if pixels := found.get("pixels"):
        _show_pixels(pixels)


def _show_ranking(found: RankingSection) -> None:
    models = [(name, model) for name, model in (("float", found["float"]), ("INT8", found["int8"])) if model]
    rows = [
        (name, f"{model['auroc']['value']:.4f}", _ends(model["auroc"]), f"{model['ap']:.4f}") for name, model in models
    ]
    if (drop := found["drop"]) is not None:
        rows.append(("lost by quantising", f"{drop['value']:.4f}", _ends(drop), ""))
    console.table("whatever the threshold", ("", ">AUROC", ">95 % interval", ">AP"), rows)


def _show_groups(title: str, groups: list[GroupRow]) -> None:
    rows = [
        (
            row["name"],
            *_wrong(row["float"], row["int8"], "escapes", row["defective"]),
            *_wrong(row["float"], row["int8"], "false_rejects", row["good"]),
        )
        for row in groups[:MOST_GROUPS]
    ]
    columns = ("", ">escapes, float", ">INT8", ">false rejects, float", ">INT8")
    console.table(title, columns, rows)
    if len(groups) > MOST_GROUPS:
        console.note(f"{len(groups) - MOST_GROUPS} more: --json or -o DIR lists all of them")


def _wrong(before: OperatingPoint | None, after: OperatingPoint, what: str, of: int) -> tuple[str, str]:
    if not of:
        return "-", "-"
    was, now = (
        None if point is None else point["escapes"] if what == "escapes" else point["false_rejects"]
        for point in (before, after)
    )
    return "-" if was is None else str(was), f"{now} of {of}"


def _show_names(found: ConfusionSection) -> None:
    rows = [(row["kind"], *(str(times or "") for times in row["int8"])) for row in found["rows"]]
    console.table("what parts are called by INT8", ("is", *(f">{name}" for name in found["said"])), rows)
    shares = [(name, share) for name, share in (("float", found["float"]), ("INT8", found["int8"])) if share]
    if shares:
        rows = [(name, f"{share['value']:.2%}", f"{share['low']:.1%} to {share['high']:.1%}") for name, share in shares]
        console.table("", ("defects called by their name", ">", ">95 % interval"), rows)


def _show_pixels(found: PixelSection) -> None:
    models = [(name, model) for name, model in (("float", found["float"]), ("INT8", found["int8"])) if model]
    rows = [
        (
            name,
            *(
                _real(value)
                for value in (
                    *(model["precision"], model["recall"], model["f1"], model["iou"], model["best_f1"]),
                    *(model["auroc"], model["ap"], model["aupro"]),
                )
            ),
        )
        for name, model in models
    ]
    title = (
        f"pixels at the threshold {found['threshold']:.4g}, {found['images']} pictures, {found['defective']} with "
        f"{found['regions']} defects"
    )
    columns = ("", ">precision", ">recall", ">F1", ">IoU", ">best F1", ">AUROC", ">AP", ">AUPRO")
    console.table(title, columns, rows)


def show_lanes(found: LaneSection) -> None:
    """Print what was found beside label masks of lane markings."""
    models = [(name, model) for name, model in (("float", found["float"]), ("INT8", found["int8"])) if model]
    title = (
        f"lane markings of {found['images']} pictures, {found['tolerance']:g} px in 640; interval over {found['over']}"
    )
    columns = (
        "",
        ">F1",
        ">95 % interval",
        ">precision",
        ">recall",
        ">F1 with side",
        ">kinds",
        ">TuSimple",
        ">FP",
        ">FN",
    )
    console.table(title, columns, [_lane_row(name, model) for name, model in models])
    rows = [
        (row["name"], str(row["images"]), _f1(row["float"]), _f1(row["int8"]), *map(_real, _shares(row["int8"])))
        for row in found["sources"]
    ]
    console.table("source by source", ("", ">pictures", ">F1, float", ">INT8", ">precision", ">recall"), rows)


def _f1(found: Matched | None) -> str:
    return _real(None if found is None else found["f1"])


def _shares(found: Matched | LaneFigures) -> tuple[float, float]:
    return found["precision"], found["recall"]


def _lane_row(name: str, model: LaneFigures) -> tuple[str, ...]:
    shares = (*_shares(model), model["sided_f1"], model["kinds"] and model["kinds"]["value"])
    rest = (model["tusimple_accuracy"], model["tusimple_fp"], model["tusimple_fn"])
    return name, _real(model["f1"]["value"]), _ends(model["f1"]), *map(_real, (*shares, *rest))


def _ends(share: Interval) -> str:
    return f"{share['low']:.4f} to {share['high']:.4f}"


def _real(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
