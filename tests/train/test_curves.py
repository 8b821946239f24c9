"""The pictures of a training are whole SVG, with the figures in them and nothing of a name obeyed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from edgecnn.train import curves
from edgecnn.train.checkpoint import Row, State
from edgecnn.train.job import Confusion, Validation

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: str) -> list[str]:
    return [item.text or "" for item in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def test_both_curves_and_the_best_score() -> None:
    scores = [0.5, 0.9, 0.8]
    rows = [Row(10 * index + 10, 0.0, 0.0, Validation(score)) for index, score in enumerate(scores)]
    losses = [1.0] * 10 + [0.5] * 20
    drawing = curves.curves(State(30, 10, 30, losses=losses, rows=rows))
    lines = [item.get("points").split() for item in ElementTree.fromstring(drawing).iter(f"{SVG}polyline")]

    assert [len(line) for line in lines] == [30, 3]
    heights = [[float(point.split(",")[1]) for point in line] for line in lines]
    assert heights[0][0] < heights[0][-1]  # a smaller loss is drawn lower
    assert heights[1][1] == min(heights[1])
    assert "score on the validation data: 0.9000 at best, at step 20" in texts(drawing)
    assert {"0.6", "0.8", "0", "30"} <= set(texts(drawing))


def test_many_steps_are_averaged() -> None:
    drawing = curves.curves(State(2000, 500, 2000, losses=[0.0, 1.0] * 1000))
    line = next(ElementTree.fromstring(drawing).iter(f"{SVG}polyline")).get("points").split()

    assert len(line) == 200
    assert len({point.split(",")[1] for point in line}) == 1


@pytest.mark.parametrize("losses", [[], [0.7]])
def test_a_training_that_has_only_begun(losses: list[float]) -> None:
    assert "loss" in texts(curves.curves(State(5, 5, len(losses), losses=losses)))


def test_a_table_shows_counts_and_shares_of_the_row() -> None:
    drawing = curves.confusion(Confusion(("good", "<b>&", "nie gesehen"), ((3, 1, 0), (0, 2, 0), (0, 0, 0))))
    found = texts(drawing)

    assert found.count("<b>&") == 2
    assert [found.count(text) for text in ("3", "75%", "25%", "100%")] == [1, 1, 1, 1]
    boxes = [item for item in ElementTree.fromstring(drawing).iter(f"{SVG}rect") if item.get("fill-opacity")]
    assert len(boxes) == 9
    assert boxes[0].get("fill") == boxes[4].get("fill") != boxes[1].get("fill")


def test_names_that_xml_cannot_hold_and_long_ones() -> None:
    names = ("a\x00\udc80b", "x" * 40)
    found = texts(curves.confusion(Confusion(names, ((1, 0), (0, 1)))))

    assert found.count("a\ufffd\ufffdb") == 2
    assert found.count("x" * 23 + "…") == 2
