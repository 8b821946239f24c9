from __future__ import annotations

import base64
import html
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.report import decisions
from edgecnn.report.decisions import scores, shown, thumbnails
from edgecnn.report.html import render
from tests.report.documents import evaluated, full
from tests.report.test_html import Page
from tests.runtime.evaluation.rows import mask, row


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A photograph for every flipped part, the second wider than high."""
    names = [f"REJECT/{index:03d}.jpg" for index in (57, 58, 59)]
    for index, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(
            str(tmp_path / name), np.random.default_rng(0).integers(0, 256, (200, 150 + 150 * index, 3), np.uint8)
        )
    return {name: tmp_path / name for name in names}


def words(page: str) -> str:
    """Return what a reader sees, cells apart."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def decoded(source: str) -> np.ndarray:
    head, _, data = source.partition(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)


def test_flipped_pictures_become_small_jpegs(files: dict[str, Path]) -> None:
    found = thumbnails(evaluated(), files)

    assert sorted(found) == sorted(files)
    assert [decoded(found[name]).shape for name in sorted(found)] == [(96, 72, 3), (64, 96, 3), (43, 96, 3)]
    # The mean over the pixels that become one, not one of them: noise nearly disappears.
    assert decoded(found["REJECT/057.jpg"]).std() < 45
    assert found == thumbnails(evaluated(), files)


def test_thumbnails_are_bounded(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_THUMBNAILS", 3)  # the first flipped picture has no file
    assert sorted(thumbnails(evaluated(), files)) == ["REJECT/057.jpg", "REJECT/058.jpg"]
    monkeypatch.setattr(decisions, "MOST_BYTES", 100)
    assert thumbnails(evaluated(), files) == {}


def test_what_cannot_be_read_has_no_thumbnail(files: dict[str, Path]) -> None:
    files["REJECT/057.jpg"].write_bytes(b"no picture")
    files["REJECT/058.jpg"].unlink()
    np.save(files["REJECT/059.jpg"].with_suffix(".npy"), np.zeros((8, 8, 5), np.uint8))
    files["REJECT/059.jpg"] = files["REJECT/059.jpg"].with_suffix(".npy")
    assert thumbnails(evaluated(), files) == {}


def test_a_small_picture_stays_as_it_is(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((28, 20), np.uint8))
    found = thumbnails(evaluated([row("a", "a", "b")], "classify"), {"a.png": tmp_path / "a.png"})
    assert decoded(found["a.png"]).shape == (28, 20)


def test_the_page_shows_flips_and_names_the_rest(files: dict[str, Path]) -> None:
    report = full()
    sources = thumbnails(report["decisions"], files)
    page = render(report, sources)

    assert [value for name, value in Page(page).attributes if name == "src"] == list(sources.values())
    text = words(page)
    assert "Flipped pictures: 4" in text
    assert "float is right, INT8 is wrong float: REJECT 0.600 INT8: PASS 0.400 label: REJECT REJECT/057.jpg" in text
    assert "PASS/119.jpg PASS PASS 0.400 REJECT 0.600 float is right, INT8 is wrong" in text


def test_the_page_says_it_in_words_and_numbers() -> None:
    text = words(render(full()))

    for expected in (
        "INT8 is not shown to be worse or better (McNemar p = 0.12)",
        "of 120 pictures it has 4 wrong that float had right, and 0 right that float had wrong",
        "120 pictures, 120 with a label, decided by onnxruntime. The float model was run beside it.",
        "float 100.00 %",
        "INT8 96.67 % 91.7 % to 98.7 %",
        "lost by quantising 3.33 points",
        "INT8 0.5 3 of 60 5.00 %",
        "INT8, suggested 0.3 0 of 60 0.00 % 0.0 % to 6.0 % 1 of 60",
    ):
        assert expected in text, expected


def test_scores_are_placed_once_and_flips_last() -> None:
    drawing = scores(evaluated())

    assert drawing is not None
    assert (drawing.threshold_x, drawing.threshold_y) == (50.0, 50.0)
    assert drawing.suggested_y == pytest.approx(70.0)
    places = [(point.x, point.y, point.kind, point.flipped) for point in drawing.points]
    assert sorted(places[:2]) == [(10.0, 80.0, "sound", False), (90.0, 10.0, "defective", False)]
    assert sorted(places[2:]) == [(40.0, 40.0, "sound", True), (60.0, 60.0, "defective", True)]
    assert next(point.label for point in drawing.points if point.x == 10.0) == "PASS/060.jpg and 58 more"


def test_only_inspections_have_a_drawing_of_scores() -> None:
    assert scores(evaluated([row("a", "a", "b")], "classify")) is None
    assert "float score" not in render(full() | {"decisions": evaluated([row("a", "a", "b")], "classify")})


def test_masks_say_how_much_they_overlap() -> None:
    section = evaluated([mask(0.75), mask(0.99)], "segment")
    found = shown({"schema": 1, "decisions": section}, {})

    assert [(flip.before, flip.after) for flip in found["named"]] == [("mask", "overlap 0.750")]
    text = words(render({"schema": 1, "decisions": section}))
    assert "overlap of masks 0.8700 on average, 0.7500 at least" in text


def test_a_long_list_ends_with_where_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "LONG_LIST", 2)
    found = shown({"schema": 1, "decisions": evaluated()}, {})
    assert (len(found["named"]), found["more"], found["count"]) == (2, 2, 4)
    assert "2 more are in report.json" in render({"schema": 1, "decisions": evaluated()})


def test_without_a_section_there_is_nothing_to_show() -> None:
    assert shown({"schema": 1}, {}) == {}
