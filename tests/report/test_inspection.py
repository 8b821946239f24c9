"""The ROC drawing, and pictures of mistakes."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.manifest import Manifest
from edgecnn.report import mistakes
from edgecnn.report.html import render
from edgecnn.report.inspection import roc_curves
from edgecnn.report.mistakes import MistakePicture, mistake_pictures
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.mistakes import ESCAPE, FALSE_REJECT, Mistake
from edgecnn.vision.results import Decision
from tests.report.documents import evaluated, full
from tests.runtime.conftest import tiny_graph, tiny_manifest
from tests.runtime.evaluation.rows import part

BLUE, YELLOW = (178, 114, 0), (66, 228, 240)


@pytest.fixture(scope="module")
def inspects() -> Manifest:
    return tiny_manifest(tiny_graph(), "defect")


def mistake(name: str, mask: np.ndarray | None, kind: str = ESCAPE) -> Mistake:
    row = part(True, 0.9, 0.25) | {"picture": name, "kind": "dent", "iou": 0.125}
    return Mistake(kind, row, Decision(mask=mask))


def decoded(picture: MistakePicture) -> np.ndarray:
    head, _, data = picture.source.partition(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def near(pixel: np.ndarray, colour: tuple[int, ...], by: int = 40) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= by)


def test_curves_go_up_where_defective_parts_are_and_right_where_good_ones_are() -> None:
    rows = [part(True, 0.9, 0.9), part(True, 0.6, 0.2), part(False, 0.1, 0.6), part(False, 0.2, 0.1)]
    before, after = roc_curves(evaluated(rows))
    assert (before.model, before.points) == ("float", "0,100 0,50 0,0 50,0 100,0")
    assert (before.x, before.y) == (0.0, 0.0)
    # At 0.5 one of two defective parts passes, and one of two good ones is rejected.
    assert (after.model, after.points) == ("int8", "0,100 0,50 50,50 50,0 100,0")
    assert (after.x, after.y) == (50.0, 50.0)


def test_float_that_is_not_known_has_no_curve() -> None:
    rows = [part(True, 0.9, 0.9) | {"float": None}, part(False, 0.1, 0.6)]
    assert [curve.model for curve in roc_curves(evaluated(rows))] == ["int8"]
    assert roc_curves(evaluated([part(True, 0.9, 0.9)])) == []


def test_thousands_of_parts_are_few_corners() -> None:
    rng = np.random.default_rng(0)
    rows = [part(index % 2 == 0, *(rng.random(2) * 0.7 + (index % 2 == 0) * 0.3)) for index in range(4000)]
    assert all(len(curve.points.split()) < 402 for curve in roc_curves(evaluated(rows)))


def test_the_page_shows_curves_and_areas() -> None:
    page = render(full())
    assert page.count("<polyline") == 2
    assert "AUROC" in page
    assert "1.0000" in page


def test_a_mistake_shows_what_int8_marks_and_the_label_mask(inspects: Manifest, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((100, 50), 128, np.uint8))
    wanted = np.zeros((100, 50), np.uint8)
    wanted[50:90, 10:40] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), wanted)
    mask = np.zeros((4, 4), np.uint8)
    mask[0] = 1
    item = Labelled(tmp_path / "a.png", "a.png", "REJECT", tmp_path / "mask.png")
    (found,) = mistake_pictures([mistake("a.png", mask)], [item], inspects)

    assert (found.remark, found.outlined) == ("escape", True)
    assert found.facts == ("score 0.250", "is dent", "overlap 0.125")
    image = decoded(found)
    assert image.shape == (280, 140, 3)
    assert near(image[30, 70], tuple(0.55 * 128 + 0.45 * part for part in BLUE), 12)
    assert near(image[100, 70], (128, 128, 128), 12)
    assert near(image[141, 70], YELLOW)
    assert near(image[190, 70], (128, 128, 128), 12)


def test_a_mistake_without_masks_is_the_picture(inspects: Manifest, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((1000, 500, 3), 128, np.uint8))
    item = Labelled(tmp_path / "a.png", "a.png", "PASS")
    (found,) = mistake_pictures([mistake("a.png", None, FALSE_REJECT)], [item], inspects)
    assert (found.remark, found.outlined) == ("false reject", False)
    assert np.abs(decoded(found).astype(int) - 128).max() <= 2


def test_what_cannot_be_shown_is_left_out(inspects: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8))
    items = [Labelled(tmp_path / name, name, "REJECT") for name in ("a.png", "b.png", "gone.png")]
    items[1] = replace(items[1], mask=tmp_path / "no_mask.png")
    wrong = [mistake(name, None) for name in ("a.png", "b.png", "gone.png", "unknown.png")]
    assert [picture.name for picture in mistake_pictures(wrong, items, inspects)] == ["a.png"]
    monkeypatch.setattr(mistakes, "MOST_BYTES", 100)
    assert mistake_pictures(wrong, items, inspects) == []
