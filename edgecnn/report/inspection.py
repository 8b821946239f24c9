"""What the page shows of how an inspection ranks parts: both ROC curves in a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgecnn.runtime.evaluation.curves import counted, roc
from edgecnn.runtime.evaluation.labelled import PASS, REJECT
from edgecnn.runtime.evaluation.section import DecisionsSection, OperatingPoint

Which = Literal["float", "int8"]


@dataclass(frozen=True)
class Curve:
    """An ROC curve in a drawing 100 by 100, with (0, 0) top left: false rejects to the right, defects found upwards.

    Attributes:
        model: ``"float"`` or ``"int8"``.
        points: Its corners as SVG's ``points``.
        x: Where the threshold lies on it.
        y: Likewise.
    """

    model: str
    points: str
    x: float
    y: float


def roc_curves(section: DecisionsSection) -> list[Curve]:
    """Draw the curves of both models, float's first; empty where one score does not decide."""
    found, inspected = section.get("ranking"), section["inspection"]
    if not found or inspected is None:
        return []
    pairs: list[tuple[Which, OperatingPoint | None]] = [
        ("float", inspected["float"] if found["float"] else None),
        ("int8", inspected["int8"]),
    ]
    return [_curve(section, which, point) for which, point in pairs if point is not None]


def _curve(section: DecisionsSection, which: Which, point: OperatingPoint) -> Curve:
    good, defective = (_scores(section, which, label) for label in (PASS, REJECT))
    across, up = roc(counted(good, defective))
    # Half a per cent is as fine as can be seen; what falls together is drawn once.
    corners = dict.fromkeys(zip(np.round(across * 200) / 2, 100 - np.round(up * 200) / 2, strict=True))
    rates = point["false_reject_rate"], point["escape_rate"]
    x, y = (0.0 if rate is None else 100 * rate["value"] for rate in rates)
    return Curve(which, " ".join(f"{left:g},{top:g}" for left, top in corners), x, y)


def _scores(section: DecisionsSection, which: Which, label: str) -> list[float]:
    found = [row[which] for row in section["pictures"] if row["label"] == label]
    return [item["score"] for item in found if item is not None and item["score"] is not None]
