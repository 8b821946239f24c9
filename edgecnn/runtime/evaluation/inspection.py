"""Inspection: defective parts that pass, good parts that are rejected, and the threshold after quantisation."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.labelled import PASS, REJECT, rejecting_labels
from edgecnn.runtime.evaluation.section import InspectionSection, Interval, OperatingPoint, PictureRow
from edgecnn.runtime.evaluation.statistics import paired_drop, wilson_interval

FEW_PARTS = 50
"""Below this many defective parts, or good ones, no threshold is suggested: with none of 50 escaping, 7 % still may."""


def share_of(count: int, of: int) -> Interval | None:
    """Return a share with its Wilson interval, None of nothing."""
    if of == 0:
        return None
    low, high = wilson_interval(count, of)
    return {"value": count / of, "low": low, "high": high}


def inspection(rows: Sequence[PictureRow], manifest: Manifest) -> InspectionSection | None:
    """Return what inspecting the labelled pictures gives, None where the bundle inspects nothing or none is labelled.

    Args:
        rows: All pictures.
        manifest: The bundle's contract.
    """
    known = [row for row in rows if row["label"] in (PASS, REJECT)]
    if not rejecting_labels(manifest) or not known:
        return None
    threshold = manifest.threshold
    before = [row["float"]["decision"] for row in known if row["float"] is not None]
    found: InspectionSection = {
        "defective": sum(row["label"] == REJECT for row in known),
        "good": sum(row["label"] == PASS for row in known),
        "float": counted(known, before, manifest.of_float.threshold) if len(before) == len(known) else None,
        "int8": counted(known, [row["int8"]["decision"] for row in known], threshold),
        "suggested": None,
        "advice": "",
        "more_escapes": _more_wrong(known, REJECT),
        "more_false_rejects": _more_wrong(known, PASS),
    }
    reason = _cannot_suggest(found, threshold)
    if reason or found["float"] is None or threshold is None:
        return found | {"advice": reason}
    return _with_suggestion(found, known, found["float"], threshold)


def _more_wrong(known: Sequence[PictureRow], label: str) -> Interval | None:
    """Return INT8's share of wrong decisions about parts of one kind minus float's; None if one is not known."""
    decided = [(row["float"], row["int8"]["decision"]) for row in known if row["label"] == label]
    right = [(before["decision"] == label, after == label) for before, after in decided if before is not None]
    if not right or len(right) < len(decided):
        return None
    drop = paired_drop(right.count((True, False)), right.count((False, True)), len(right))
    return {"value": drop.value, "low": drop.low, "high": drop.high}


def counted(known: Sequence[PictureRow], decisions: Sequence[str], threshold: float | None) -> OperatingPoint:
    """Count what decisions about all of these labelled pictures let through and throw away."""
    pairs = [(row["label"], decision) for row, decision in zip(known, decisions, strict=True)]
    defective, good = sum(label == REJECT for label, _ in pairs), sum(label == PASS for label, _ in pairs)
    return _operating_point(pairs.count((REJECT, PASS)), defective, pairs.count((PASS, REJECT)), good, threshold)


def _operating_point(
    escapes: int, defective: int, false_rejects: int, good: int, threshold: float | None
) -> OperatingPoint:
    return {
        "threshold": threshold,
        "escapes": escapes,
        "false_rejects": false_rejects,
        "escape_rate": share_of(escapes, defective),
        "false_reject_rate": share_of(false_rejects, good),
    }


def _cannot_suggest(found: InspectionSection, threshold: float | None) -> str:
    """Say why no threshold can be suggested, empty if one can."""
    before = found["float"]
    if min(found["defective"], found["good"]) < FEW_PARTS:
        return (
            f"Too few parts to say which threshold would be right: {found['defective']} defective and {found['good']} "
            f"good ones; at least {FEW_PARTS} of each are needed."
        )
    if threshold is None:
        return "Several labels have a threshold of their own: none is suggested."
    if before is None:
        return "No threshold is suggested: what float decides is not known for all labelled pictures."
    if before["escapes"] == found["defective"]:
        return "No threshold is suggested: float itself lets every defective part pass."
    return ""


def _with_suggestion(
    found: InspectionSection, known: Sequence[PictureRow], before: OperatingPoint, threshold: float
) -> InspectionSection:
    good, defective = (
        [row["int8"]["score"] or 0.0 for row in known if row["label"] == label] for label in (PASS, REJECT)
    )
    best = retuned(good, defective, before["escapes"], threshold)
    if best == threshold:
        return found | {"advice": f"The threshold may stay at {threshold:.4g}: no other keeps float's escapes better."}
    escapes, rejects = sum(score < best for score in defective), sum(score >= best for score in good)
    advice = (
        f"With the threshold {best:.4g} in place of {threshold:.4g} INT8 lets {escapes} of {len(defective)} defective "
        f"parts pass and rejects {rejects} of {len(good)} good ones. It was chosen on these very pictures: look at it "
        "on others before it is used."
    )
    point = _operating_point(escapes, len(defective), rejects, len(good), best)
    return found | {"suggested": point, "advice": advice}


def retuned(good: Sequence[float], defective: Sequence[float], escapes: int, threshold: float) -> float:
    """Return the threshold for INT8 that keeps float's operating point; a part is rejected from it on.

    Rules, the first counts most:
        1. At most ``escapes`` defective parts pass: what float lets through at its threshold.
        2. As few good parts as possible are rejected.
        3. As few defective parts as possible pass.
        4. ``threshold`` stays where it does all this; else the middle of the gap between the scores that does.

    Args:
        good: INT8 scores of good parts, 0..1.
        defective: INT8 scores of defective parts; more than ``escapes``.
        escapes: See rule 1.
        threshold: The present threshold.

    Raises:
        ValueError: If there are not more defective parts than may pass.
    """
    if len(defective) <= escapes:
        raise ValueError(f"expected more than {escapes} defective parts, got {len(defective)}")
    highest = sorted(defective)[escapes]
    floor = max((score for score in good if score < highest), default=None)
    ceiling = min(score for score in (*good, *defective) if floor is None or score > floor)
    if (floor is None or threshold > floor) and threshold <= ceiling:
        return threshold
    return ceiling if floor is None else (floor + ceiling) / 2
