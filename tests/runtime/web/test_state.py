from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgecnn.runtime.loop.statistics import BOUNDS, Histogram
from edgecnn.runtime.web.history import Sample
from edgecnn.runtime.web.state import Cached, moment, quantile, state
from edgecnn.vision.results import Decision, Result, Verdict
from tests.runtime.web.conftest import Line


def told(line: Line, *arguments: Any) -> dict[str, Any]:
    return dict(json.loads(state(line.context(), *(arguments or (None, None, None, [], [])))))


def test_before_the_first_turn_nothing_is_made_up(line: Line) -> None:
    content = told(line)
    assert content["now"] is None
    assert content["silence"] is None
    assert content["events"] == []
    assert content["history"] == {"step": 2.0, "p50": [], "p99": [], "dropped": []}


def test_the_newest_turn_and_the_figures_are_told(line: Line) -> None:
    observation = line.see(Verdict.REJECT, 0.75)
    content = told(line, observation, 0.25, 0.5, [], [Sample(0.01, 0.02, 3)])
    assert content["state"] == "REJECT"
    assert content["now"] == {
        "turn": 1,
        "state": "REJECT",
        "verdict": "REJECT",
        "label": "scratch",
        "score": 0.75,
        "threshold": 0.5,
        "score_text": "0.75",
        "name": "frame-1",
        "age": 0.008,
        "findings": [],
    }
    assert content["figures"]["dropped"] == 34
    assert content["bounds"] == list(BOUNDS)
    assert content["age"]["count"] == 100
    assert content["sinks"][0] == {
        "address": "mqtt://broker/line",
        "delivered": 1000,
        "lost": 200,
        "waiting": 3,
        "error": "the broker does not answer",
        "last_error": "",
        "failing": False,
        "p99": 0.019,
    }
    assert content["history"]["dropped"] == [3]


def test_what_json_cannot_hold_becomes_null_and_long_texts_are_cut(line: Line) -> None:
    line.figures = replace(line.figures, source_error="x" * 10_000, fps=float("inf"))
    observation = replace(line.see(Verdict.PASS), result=Result(Decision("scratch", float("nan")), ()))
    content = told(line, observation, 0.0, 0.5, [], [])
    assert content["now"]["score"] is None
    assert content["figures"]["fps"] is None
    assert len(content["figures"]["source_error"]) == 300


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0,) * 13, 0.5, None),
        ((10,) + (0,) * 12, 0.5, 0.0005),
        ((0, 10) + (0,) * 11, 1.0, 0.002),
        ((5, 0, 5) + (0,) * 10, 0.5, 0.001),
        ((5, 0, 5) + (0,) * 10, 0.75, 0.0035),
        ((0,) * 12 + (3,), 0.5, 5.0),
    ],
)
def test_quantiles_lie_on_straight_lines_within_buckets(
    counts: tuple[int, ...], share: float, expected: float | None
) -> None:
    assert quantile(Histogram(counts, 0.0), share) == pytest.approx(expected)


def test_cached_bytes_are_made_once_for_many() -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"%d" % len(made)

    cached = Cached(make)
    assert [cached.get() for _ in range(100)] == [b"1"] * 100


@pytest.mark.parametrize(("score", "text"), [(0.625, "0.62"), (0.875, "0.88"), (0.125, "0.12")])
def test_a_score_is_rounded_as_it_is_in_the_picture(line: Line, score: float, text: str) -> None:
    seen = line.see(Verdict.REJECT, score)

    assert moment(seen, 0.5)["score_text"] == text
    assert seen.result is not None
    assert seen.result.decision.caption == f"scratch {text}"


def test_the_score_of_a_sound_part_is_not_that_of_its_label(line: Line) -> None:
    sound = Decision("good", 0.03, {"good": 0.97, "scratch": 0.03}, Verdict.PASS)

    assert moment(replace(line.see(Verdict.PASS), result=Result(sound, ())), 0.5)["score_text"] == "score 0.03"
    assert moment(line.see(Verdict.INVALID), None)["score_text"] == ""
