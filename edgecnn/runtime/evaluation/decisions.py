"""From what was decided about each picture to what can be said about the models."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.groups import by_group, confusion
from edgecnn.runtime.evaluation.inspection import inspection, share_of
from edgecnn.runtime.evaluation.lanes import LaneCounts
from edgecnn.runtime.evaluation.masks import LabelMasks
from edgecnn.runtime.evaluation.pixels import PixelCounts
from edgecnn.runtime.evaluation.ranking import ranking
from edgecnn.runtime.evaluation.section import (
    Accuracies,
    DecisionsSection,
    MaskSection,
    OutputNoise,
    Paired,
    PictureRow,
)
from edgecnn.runtime.evaluation.statistics import mcnemar_p, paired_drop
from edgecnn.runtime.evaluation.verdict import remarks, verdict

MASK_LIMIT = 0.9
"""Masks whose intersection over union with float's is below this count as flipped."""
MODEL, BUNDLE, NONE = "model", "bundle", "none"


def decisions(
    manifest: Manifest,
    engine: str,
    rows: Sequence[PictureRow],
    noise: Sequence[OutputNoise],
    source: str,
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
    label_masks: LabelMasks | None = None,
    pixels: PixelCounts | None = None,
    lanes: LaneCounts | None = None,
) -> DecisionsSection:
    """Return the section of the report.

    Args:
        manifest: The bundle's contract.
        engine: The engine that decided.
        rows: What `Observer` collected.
        noise: Likewise.
        source: Where float's decisions come from: `MODEL` or `BUNDLE`.
        skipped: Pictures that could not be used.
        notes: What the reader should know beside what is found here.
        label_masks: What `Observer` counted beside label masks.
        pixels: Likewise of inspections.
        lanes: Likewise of lanes.

    Raises:
        DataError: If there is no picture.
    """
    if not rows:
        raise DataError(f"no picture to evaluate on can be used{f', the first: {skipped[0]}' if skipped else ''}.")
    found = _section(manifest, engine, rows, noise, source)
    found["skipped"] = list(skipped)
    if label_masks is not None:
        found["label_masks"] = label_masks.section()
        notes = [*notes, *_unusable(label_masks.skipped)]
    if pixels is not None:
        found["pixels"] = pixels.section()
        notes = [*notes, *_unusable(pixels.skipped)]
    if lanes is not None:
        found["lanes"] = lanes.section()
        notes = [*notes, *_unusable(lanes.skipped)]
    return found | {"verdict": verdict(found), "remarks": [*notes, *remarks(found)]}


def _unusable(masks: Sequence[str]) -> list[str]:
    return [f"{len(masks)} label mask(s) could not be used, the first: {masks[0]}"] if masks else []


def _section(
    manifest: Manifest, engine: str, rows: Sequence[PictureRow], noise: Sequence[OutputNoise], source: str
) -> DecisionsSection:
    """Return the numbers; where decisions are masks or nothing is decided, none of them is about labels."""
    decides = any(row["int8"]["decision"] for row in rows)
    compared = [row for row in rows if row["float"] is not None] if decides or noise else []
    is_named = decides and rows[0]["int8"]["score"] is not None
    same = sum(not is_flipped(row) for row in compared)
    inspected, threshold = inspection(rows, manifest), manifest.threshold
    return {
        "engine": engine,
        "task": manifest.task,
        "source": source if compared else NONE,
        "images": len(rows),
        "labelled": sum(row["label"] is not None for row in rows) if is_named else 0,
        "compared": len(compared),
        "verdict": "",
        "agreement": share_of(same, len(compared)) if is_named else None,
        "accuracy": _accuracies(rows) if is_named else None,
        "paired": _paired(compared) if is_named else None,
        "inspection": inspected,
        "ranking": ranking(rows) if inspected is not None and threshold is not None else None,
        "by_kind": by_group(rows, "kind", threshold) if inspected is not None else [],
        "by_source": by_group(rows, "source", threshold) if inspected is not None else [],
        "confusion": confusion(rows, manifest) if inspected is not None else None,
        "masks": _masks(compared),
        "noise": list(noise),
        "remarks": [],
        "skipped": [],
        "pictures": list(rows),
    }


def is_flipped(row: PictureRow) -> bool:
    """Whether INT8 and float decide differently; False where float's decision is not known."""
    if row["float"] is None:
        return False
    if row["overlap"] is not None:
        return row["overlap"]["iou"] < MASK_LIMIT
    return row["float"]["decision"] != row["int8"]["decision"]


def flipped(rows: Sequence[PictureRow]) -> list[PictureRow]:
    """Return the flipped pictures: those that INT8 has wrong and float had right first, then by name."""
    order = ("float", "neither", "unknown", "int8")
    found = [row for row in rows if is_flipped(row)]
    return sorted(found, key=lambda row: (order.index(who_is_right(row)), row["picture"]))


def who_is_right(row: PictureRow) -> str:
    """Return whose decision is the right one: ``float``, ``int8``, ``both``, ``neither`` or ``unknown``."""
    if row["label"] is None or row["float"] is None or row["overlap"] is not None:
        return "unknown"
    before, after = row["float"]["decision"] == row["label"], row["int8"]["decision"] == row["label"]
    return {(True, True): "both", (True, False): "float", (False, True): "int8"}.get((before, after), "neither")


def _accuracies(rows: Sequence[PictureRow]) -> Accuracies | None:
    """Return both shares of right decisions; float's only where it is known for the very same pictures."""
    labelled = [row for row in rows if row["label"] is not None]
    int8 = share_of(sum(row["int8"]["decision"] == row["label"] for row in labelled), len(labelled))
    if int8 is None:
        return None
    known = [row["float"]["decision"] == row["label"] for row in labelled if row["float"] is not None]
    before = share_of(sum(known), len(known)) if len(known) == len(labelled) else None
    return {"images": len(labelled), "float": before, "int8": int8}


def _paired(compared: Sequence[PictureRow]) -> Paired | None:
    right = [who_is_right(row) for row in compared if row["label"] is not None]
    if not right:
        return None
    lost, gained = right.count("float"), right.count("int8")
    drop = paired_drop(lost, gained, len(right))
    return {
        "images": len(right),
        "lost": lost,
        "gained": gained,
        "drop": {"value": drop.value, "low": drop.low, "high": drop.high},
        "p": mcnemar_p(lost, gained),
    }


def _masks(compared: Sequence[PictureRow]) -> MaskSection | None:
    overlaps = [row["overlap"] for row in compared if row["overlap"] is not None]
    if not overlaps:
        return None
    ious = [item["iou"] for item in overlaps]
    return {
        "iou": sum(ious) / len(ious),
        "lowest": min(ious),
        "pixels": sum(item["pixels"] for item in overlaps) / len(overlaps),
        "limit": MASK_LIMIT,
    }
