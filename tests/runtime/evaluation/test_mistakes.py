from __future__ import annotations

from edgecnn.runtime.evaluation.mistakes import ESCAPE, FALSE_REJECT, MOST, PIXELS, Mistakes
from edgecnn.vision.results import Decision
from tests.runtime.evaluation.rows import part, row


def test_the_worst_of_each_kind_are_kept() -> None:
    kept, decision = Mistakes(), Decision()
    for index in range(9):
        score = index / 20
        kept.add(part(True, 0.9, score) | {"picture": f"escape {index}"}, decision)
        kept.add(part(False, 0.1, 0.5 + score) | {"picture": f"false {index}"}, decision)
        kept.add(part(True, 0.9, 0.9) | {"picture": f"pixels {index}", "iou": 1 - score}, decision)
    found = [(mistake.kind, mistake.row["picture"]) for mistake in kept]
    assert found == [
        *((ESCAPE, f"escape {index}") for index in range(MOST)),
        *((FALSE_REJECT, f"false {8 - index}") for index in range(MOST)),
        *((PIXELS, f"pixels {8 - index}") for index in range(MOST)),
    ]


def test_equal_mistakes_are_in_the_order_of_their_names() -> None:
    kept = Mistakes()
    for name in "cabed":
        kept.add(part(True, 0.9, 0.1) | {"picture": name}, Decision())
    assert [mistake.row["picture"] for mistake in kept] == list("abcd")


def test_right_decisions_are_no_mistakes() -> None:
    kept = Mistakes()
    for right in (part(True, 0.1, 0.9), part(False, 0.9, 0.1), part(True, 0, 0.9) | {"iou": 1.0}, row(None, "a", "b")):
        kept.add(right, Decision())
    assert list(kept) == []
