from __future__ import annotations

import re

import pytest

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.decisions import MODEL, decisions, flipped, is_flipped, who_is_right
from edgecnn.runtime.evaluation.section import DecisionsSection, OutputNoise, PictureRow
from edgecnn.runtime.evaluation.statistics import images_needed, mcnemar_p, paired_drop, wilson_interval
from tests.runtime.conftest import tiny_graph, tiny_manifest
from tests.runtime.evaluation.rows import mask, part, row

NOISE: list[OutputNoise] = [{"output": "logits", "sqnr_db": 21.5}, {"output": "boxes", "sqnr_db": None}]


def section(rows: list[PictureRow], task: str = "classify", noise: list[OutputNoise] | None = None) -> DecisionsSection:
    return decisions(tiny_manifest(tiny_graph(), task), "onnxruntime", rows, noise or [], MODEL)


def labelled(both: int = 0, lost: int = 0, gained: int = 0, neither: int = 0) -> list[PictureRow]:
    """Return rows by whose decision is right; ``neither`` decides alike."""
    rows = [row("a", "a", "a")] * both + [row("a", "a", "b")] * lost + [row("a", "b", "a")] * gained
    return rows + [row("a", "b", "b")] * neither


def test_shares_and_intervals() -> None:
    found = section(labelled(both=150, lost=6, gained=2, neither=42))

    assert (found["images"], found["labelled"], found["compared"], found["source"]) == (200, 200, 200, "model")
    assert found["accuracy"] is not None
    assert found["accuracy"]["float"] == {"value": 0.78, **ends(156, 200)}
    assert found["accuracy"]["int8"] == {"value": 0.76, **ends(152, 200)}
    assert found["agreement"] == {"value": 0.96, **ends(192, 200)}
    drop = paired_drop(6, 2, 200)
    assert found["paired"] == {
        "images": 200,
        "lost": 6,
        "gained": 2,
        "drop": {"value": 0.02, "low": drop.low, "high": drop.high},
        "p": mcnemar_p(6, 2),
    }


def ends(successes: int, n: int) -> dict[str, float]:
    low, high = wilson_interval(successes, n)
    return {"low": low, "high": high}


def test_rows_without_a_label_or_without_float_are_left_out() -> None:
    found = section([*labelled(both=3, lost=1), row(None, "a", "b"), row("a", None, "a")])

    assert (found["labelled"], found["compared"]) == (5, 5)
    assert found["paired"] is not None
    assert found["paired"]["images"] == 4
    assert found["accuracy"] is not None
    # Float's share would be of other pictures than INT8's: it is not shown beside it.
    assert (found["accuracy"]["images"], found["accuracy"]["float"]) == (5, None)
    assert "known for 5 of 6 pictures" in found["remarks"][0]


def test_the_worst_flips_come_first() -> None:
    rows = [
        row("a", "b", "a", picture="gained"),
        row("a", "b", "c", picture="both wrong"),
        row(None, "b", "c", picture="unknown"),
        row("a", "a", "b", picture="lost"),
        row("a", "a", "a", picture="same"),
        row("a", None, "b", picture="not compared"),
    ]
    assert [item["picture"] for item in flipped(rows)] == ["lost", "both wrong", "unknown", "gained"]
    assert [who_is_right(item) for item in flipped(rows)] == ["float", "neither", "unknown", "int8"]
    assert who_is_right(rows[4]) == "both"


def test_masks_are_flipped_below_the_limit() -> None:
    rows = [mask(1.0), mask(0.9), mask(0.89)]
    found = section(rows, "segment")

    assert [is_flipped(item) for item in rows] == [False, False, True]
    assert found["masks"] == {"iou": pytest.approx(0.93), "lowest": 0.89, "pixels": pytest.approx(0.965), "limit": 0.9}
    assert (found["agreement"], found["accuracy"], found["paired"], found["labelled"]) == (None, None, None, 0)


def test_without_a_picture_nothing_is_said(manifest: Manifest) -> None:
    with pytest.raises(DataError, match="no picture to evaluate on can be used"):
        decisions(manifest, "onnxruntime", [], [], MODEL)


# In words


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            labelled(both=60, lost=20),
            r"Too few pictures to say whether INT8 is worse: 80 pictures with a label, at least 100",
        ),
        (labelled(both=1), r"1 picture with a label.*About 381 would show that it is worse by less than 1.00 points"),
        (
            labelled(both=180, lost=19, gained=1),
            r"^INT8 is worse by 9.00 points \(McNemar p = 4e-05\): of 200 pictures",
        ),
        (labelled(both=180, lost=1, gained=19), r"^INT8 is better by 9.00 points"),
        (labelled(both=180, lost=11, gained=9), r"^INT8 is not shown to be worse or better \(McNemar p = 0.82\)"),
        (
            labelled(both=300, neither=100),
            r"on the same pictures as float, all 400 of them.*loss is between -0.95 and 0.95 points",
        ),
        ([row(None, "a", "a")] * 99, r"Too few pictures to say how often .* 99 pictures, at least 100 are needed"),
        ([row(None, "a", "a")] * 99 + [row(None, "a", "b")], r"as float does on 99 of 100 pictures \(99.00%"),
        ([row("a", None, "a")] * 150, r"INT8 is right on 150 of 150 pictures.*name the source model \(--float\)"),
        (
            [row("a", None, "a")] * 15,
            r"Too few pictures to judge by, at least 100 are needed. INT8 is right on 15 of 15",
        ),
        ([row(None, None, "a")], r"Nothing can be said: the pictures have no labels"),
        ([mask(0.5)], r"Too few pictures to say how alike the masks are: 1, .* 1 of 1 pictures are below 0.90"),
        ([mask(0.95)] * 100, r"^The masks of INT8 and float overlap by 0.950 on average"),
    ],
)
def test_the_verdict_in_words(rows: list[PictureRow], says: str) -> None:
    verdict = section(rows)["verdict"]
    assert re.search(says, verdict), verdict


def test_what_decides_nothing_says_so() -> None:
    silent = row(None, "", "") | {"float": {"decision": "", "score": None}, "int8": {"decision": "", "score": None}}
    found = section([silent], "raw", NOISE)
    assert found["verdict"].startswith("The task 'raw' decides nothing that could be counted")
    assert "21.5 dB at least" in found["verdict"]
    assert found["noise"] == NOISE
    alone = section([silent], "raw")
    assert (alone["source"], alone["compared"]) == ("none", 0)
    assert "name the source model (--float)" in alone["verdict"]


def test_the_number_of_pictures_that_would_do_is_said() -> None:
    found = section(labelled(both=150, lost=2, gained=2))
    needed = images_needed(0.01, 2 / 154, 2 / 154)
    assert f"About {needed} pictures like these would show" in found["remarks"][0]
    worse = section(labelled(both=150, lost=5))
    assert worse["remarks"] == ["More pictures like these would not show that INT8 is worse by less than 1.00 points."]


def test_few_parts_of_a_kind_are_named() -> None:
    rows = [part(True, 0.9, 0.9)] * 10 + [part(False, 0.1, 0.1)] * 100
    remarks = section(rows, "defect")["remarks"]
    assert (
        "Too few defective parts (10) to speak of the share of them escaping: with none, 28% still may be."
        in remarks[-1]
    )
    assert not any("good parts" in remark for remark in remarks)


def test_pictures_that_could_not_be_used_are_named(manifest: Manifest) -> None:
    found = decisions(manifest, "onnxruntime", labelled(both=1), [], MODEL, ["a.jpg: the file is empty."], ["by hand"])
    assert found["remarks"][0] == "by hand"
    assert found["remarks"][-1] == "1 picture(s) could not be used, the first: a.jpg: the file is empty."
    assert found["skipped"] == ["a.jpg: the file is empty."]
