"""Figures of an inspection over all folds, from what ``edgecnn evaluate --json`` says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from edgecnn.runtime.evaluation.curves import area_under_roc, average_precision, counted
from edgecnn.runtime.evaluation.labelled import PASS, REJECT

Section = Mapping[str, Any]
Figures = dict[str, float | None]


def inspection(folds: Sequence[Section], which: str, defective_pixels: Sequence[int]) -> Figures:
    """Return the figures of all folds, None where a fold does not say.

    "mean" is the mean over folds; "all" is over the pictures or the pixels of all folds together.

    Args:
        folds: The section ``decisions`` of each fold.
        which: ``"float"`` or ``"int8"``.
        defective_pixels: In the label masks of each fold's test pictures.
    """
    ranked = [fold.get("ranking") for fold in folds]
    pixels = [(fold.get("pixels") or {}).get(which) for fold in folds]
    good, defective = (_scores(folds, which, label) for label in (PASS, REJECT))
    complete = None not in good + defective
    return {
        "image AUROC, mean": _mean([_value(row, which, "auroc", "value") for row in ranked]),
        "image AUROC, all": area_under_roc(counted(good, defective)) if complete else None,
        "image AP, mean": _mean([_value(row, which, "ap") for row in ranked]),
        "image AP, all": average_precision(counted(good, defective)) if complete else None,
        "escapes, share": _rate(folds, which, "escapes", "defective"),
        "false rejects, share": _rate(folds, which, "false_rejects", "good"),
        "defect class right, all": named_rightly(folds, which),
        "pixel F1, all": pooled_f1(pixels, defective_pixels),
        "pixel F1, mean": _mean([_value(row, "f1") for row in pixels]),
        "best pixel F1, mean": _mean([_value(row, "best_f1") for row in pixels]),
        "pixel AUROC, mean": _mean([_value(row, "auroc") for row in pixels]),
        "AUPRO, mean": _mean([_value(row, "aupro") for row in pixels]),
    }


LOW_IS_GOOD = frozenset({"escapes, share", "false rejects, share"})


def lost(name: str, before: float | None, after: Sequence[float | None]) -> float | None:
    """Return the percentage points that the worst of several engines loses beside float; negative where all gain."""
    known = [value for value in after if value is not None]
    if before is None or not known:
        return None
    return 100 * (max(known) - before if name in LOW_IS_GOOD else before - min(known))


def pooled_f1(pixels: Sequence[Section | None], defective: Sequence[int]) -> float | None:
    """Return the F1 over the pixels of all folds, from the precision and recall of each.

    A fold without a hit does not say how many pixels it marked: then there is no such F1.
    """
    hits = predicted = 0.0
    for fold, count in zip(pixels, defective, strict=True):
        if fold is None or not fold["recall"] or not fold["precision"]:
            return None
        hits += fold["recall"] * count
        predicted += fold["recall"] * count / fold["precision"]
    return 2 * hits / (predicted + sum(defective))


def named_rightly(folds: Sequence[Section], which: str) -> float | None:
    """Return the share of defective parts that are called by their name, of kinds that the model knows."""
    kinds = by_kind(folds, which)
    known = [(right, total) for right, total in kinds.values()]
    return sum(right for right, _ in known) / sum(total for _, total in known) if known else None


def by_kind(folds: Sequence[Section], which: str) -> dict[str, tuple[int, int]]:
    """Return how many parts of each kind of defect are called by their name, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for confusion in filter(None, (fold.get("confusion") for fold in folds)):
        defects = [row for row in confusion["rows"] if row["kind"] in confusion["said"][1:]]
        for row in (row for row in defects if row[which] is not None):
            right, total = found.get(row["kind"], (0, 0))
            place = confusion["said"].index(row["kind"])
            found[row["kind"]] = right + row[which][place], total + sum(row[which])
    return found


def wrong_by_kind(folds: Sequence[Section], which: str) -> dict[str, tuple[int, int]]:
    """Return how many parts of each kind are decided wrongly, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for row in (row for fold in folds for row in fold["pictures"] if row["label"] is not None and row[which]):
        wrong, total = found.get(row["kind"], (0, 0))
        found[row["kind"]] = wrong + (row[which]["decision"] != row["label"]), total + 1
    return dict(sorted(found.items()))


def _scores(folds: Sequence[Section], which: str, label: str) -> list[Any]:
    rows = [row for fold in folds for row in fold["pictures"] if row["label"] == label]
    return [None if row[which] is None else row[which]["score"] for row in rows]


def _rate(folds: Sequence[Section], which: str, wrong: str, parts: str) -> float | None:
    points = [_value(fold, "inspection", which, wrong) for fold in folds]
    if None in points:
        return None
    return sum(points) / max(1, sum(fold["inspection"][parts] for fold in folds))


def _value(row: Any, *names: str) -> Any:
    for name in names:
        row = None if row is None else row.get(name)
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
