"""The worst mistakes of an inspection or a lane model, kept while pictures go by, to be looked at afterwards."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from edgecnn.runtime.evaluation.labelled import PASS, REJECT
from edgecnn.runtime.evaluation.section import PictureRow
from edgecnn.vision.results import Decision

ESCAPE, FALSE_REJECT, PIXELS, MARKINGS = "escape", "false_reject", "pixels", "markings"
MOST, MOST_MARKINGS = 4, 12
"""Mistakes that are kept of each kind: their masks stay in memory."""


@dataclass(frozen=True)
class Mistake:
    """A picture that INT8 has wrong.

    Attributes:
        kind: ``"escape"`` (a defective part passed), ``"false_reject"`` (a good one did not), ``"pixels"``: the
            verdict is right, but defective pixels and label mask overlap little, or ``"markings"``: lane markings are
            not where the label mask has them.
        row: The picture and what was decided.
        decision: INT8's, regions in pixels of the model's picture.
    """

    kind: str
    row: PictureRow
    decision: Decision


class Mistakes:
    """Keeps `MOST` escapes with the lowest scores, as many false rejects with the highest, and of least overlap.

    Of lane markings it keeps the `MOST_MARKINGS` with the lowest F1.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[float, str, Mistake]]] = {
            kind: [] for kind in (ESCAPE, FALSE_REJECT, PIXELS, MARKINGS)
        }

    def add(self, row: PictureRow, decision: Decision) -> None:
        """Take in one picture."""
        pair, score = (row["label"], row["int8"]["decision"]), row["int8"]["score"] or 0.0
        if pair == (REJECT, PASS):
            self._keep(ESCAPE, score, row, decision)
        elif pair == (PASS, REJECT):
            self._keep(FALSE_REJECT, -score, row, decision)
        elif pair == (REJECT, REJECT) and row.get("iou", 1.0) < 1.0:
            self._keep(PIXELS, row["iou"], row, decision)
        elif row.get("f1", 1.0) < 1.0:
            self._keep(MARKINGS, row["f1"], row, decision)

    def _keep(self, kind: str, order: float, row: PictureRow, decision: Decision) -> None:
        insort(self._kept[kind], (order, row["picture"], Mistake(kind, row, decision)), key=lambda item: item[:2])
        del self._kept[kind][MOST_MARKINGS if kind == MARKINGS else MOST :]

    def __iter__(self) -> Iterator[Mistake]:
        """Yield what was kept, escapes first, the worst of a kind first."""
        return (mistake for kept in self._kept.values() for _, _, mistake in kept)
