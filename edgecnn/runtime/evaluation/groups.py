"""Inspections kind by kind and source by source, and what defects are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.inspection import counted, share_of
from edgecnn.runtime.evaluation.labelled import PASS, REJECT, rejecting_labels
from edgecnn.runtime.evaluation.section import ConfusionRow, ConfusionSection, GroupRow, Judgement, PictureRow


def by_group(
    rows: Sequence[PictureRow], what: Literal["kind", "source"], threshold: float | None = None
) -> list[GroupRow]:
    """Return what inspecting the labelled pictures of every kind or source gives, by name; empty with fewer than two.

    Args:
        rows: All pictures of an inspection.
        what: By what they are grouped; pictures without it are left out.
        threshold: The one that decides.
    """
    groups: dict[str, list[PictureRow]] = {}
    for row in rows:
        if row["label"] in (PASS, REJECT) and (name := row.get(what)):
            groups.setdefault(name, []).append(row)
    if len(groups) < 2:
        return []
    return [_group(name, members, threshold) for name, members in sorted(groups.items())]


def _group(name: str, rows: Sequence[PictureRow], threshold: float | None) -> GroupRow:
    before = [row["float"]["decision"] for row in rows if row["float"] is not None]
    return {
        "name": name,
        "defective": sum(row["label"] == REJECT for row in rows),
        "good": sum(row["label"] == PASS for row in rows),
        "float": counted(rows, before, threshold) if len(before) == len(rows) else None,
        "int8": counted(rows, [row["int8"]["decision"] for row in rows], threshold),
    }


def confusion(rows: Sequence[PictureRow], manifest: Manifest) -> ConfusionSection | None:
    """Return what parts are called beside what they are, None for models that tell no kinds of defects.

    Args:
        rows: All pictures.
        manifest: The bundle's contract.
    """
    names = [name for name in manifest.labels if name in rejecting_labels(manifest)]
    known = [row for row in rows if row["label"] in (PASS, REJECT) and row.get("kind")]
    if len(names) < 2 or not any(row.get("kind") in names for row in known):
        return None
    sound = next((name for name in manifest.labels if name not in names), PASS)
    said = [sound, *names]
    kinds = sorted({row["kind"] for row in known})
    return {
        "said": said,
        "rows": [_confused(kind, [row for row in known if row["kind"] == kind], said) for kind in kinds],
        "float": share_of(*right) if (right := _named_rightly(known, names, "float")) else None,
        "int8": share_of(*right) if (right := _named_rightly(known, names, "int8")) else None,
    }


def _confused(kind: str, rows: Sequence[PictureRow], said: Sequence[str]) -> ConfusionRow:
    before = [row["float"] for row in rows if row["float"] is not None]
    return {
        "kind": kind,
        "float": _called(before, said) if len(before) == len(rows) else None,
        "int8": _called([row["int8"] for row in rows], said),
    }


def _called(found: Sequence[Judgement], said: Sequence[str]) -> list[int]:
    names = [_name(item, said[0]) for item in found]
    return [names.count(name) for name in said]


def _name(found: Judgement, sound: str) -> str:
    return sound if found["decision"] == PASS else found.get("label", "")


def _named_rightly(
    rows: Sequence[PictureRow], names: Sequence[str], which: Literal["float", "int8"]
) -> tuple[int, int] | None:
    """Count the defective parts that are called what they are, and all of them; None if not all were decided."""
    defective = [row for row in rows if row["kind"] in names]
    found = [(row["kind"], item) for row in defective if (item := row[which]) is not None]
    if len(found) < len(defective):
        return None
    return sum(_name(item, "") == kind for kind, item in found), len(found)
