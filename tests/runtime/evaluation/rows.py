"""Decisions about pictures, for the tests of what counts them."""

from __future__ import annotations

from edgecnn.runtime.evaluation.section import PictureRow


def row(
    label: str | None,
    before: str | None,
    after: str,
    scores: tuple[float, float] = (0.5, 0.5),
    picture: str = "a.png",
    digest: str = "",
) -> PictureRow:
    """Return a picture with its label, float's and INT8's decision."""
    return {
        "picture": picture,
        "digest": digest,
        "label": label,
        "float": None if before is None else {"decision": before, "score": scores[0]},
        "int8": {"decision": after, "score": scores[1]},
        "overlap": None,
    }


def part(defective: bool, before: float, after: float, threshold: float = 0.5) -> PictureRow:
    """Return a part with the scores of both models, and the verdicts at ``threshold``."""
    verdicts = ["REJECT" if score >= threshold else "PASS" for score in (before, after)]
    return row("REJECT" if defective else "PASS", verdicts[0], verdicts[1], (before, after))


def mask(iou: float, picture: str = "a.png") -> PictureRow:
    """Return a picture whose masks overlap by ``iou``."""
    return {
        "picture": picture,
        "digest": "",
        "label": None,
        "float": {"decision": "aa", "score": None},
        "int8": {"decision": "bb", "score": None},
        "overlap": {"iou": iou, "pixels": (1 + iou) / 2},
    }
