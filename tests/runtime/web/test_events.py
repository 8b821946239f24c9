from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgecnn.runtime.loop.observation import Part
from edgecnn.runtime.web import events as module
from edgecnn.runtime.web.events import GOOD_KEPT, KEPT, Events
from edgecnn.runtime.web.pictures import Pictures
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.web.conftest import Line, manifest

PASS, REJECT, INVALID = Verdict.PASS, Verdict.REJECT, Verdict.INVALID


def make(parts: bool) -> Events:
    return Events(Pictures(manifest()), lambda label: {"scratch": 0.5}.get(label or ""), parts)


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.0)
    monkeypatch.setattr(module, "GOOD_REST_SECONDS", 0.0)


def test_without_parts_changes_to_reject_and_invalid_are_events(line: Line) -> None:
    events = make(parts=False)
    for verdict in (PASS, REJECT, REJECT, PASS, INVALID, INVALID, PASS):
        events.show(line.see(verdict, 0.9))
    told = [(event.number, event.verdict, event.title, event.reason, event.score) for event in events.all()]
    assert told == [
        (5, INVALID, "black", "the picture is almost black: mean 2 of 255", None),
        (2, REJECT, "scratch", "rejected from 0.50 on", 0.9),
    ]


def test_with_parts_the_part_is_the_event(line: Line) -> None:
    events = make(parts=True)
    events.show(line.see(REJECT, 0.9))
    events.show(line.see(INVALID))
    events.show(line.see(PASS, part=Part(1, REJECT, 3, 1, 1, 0.9)))
    events.show(line.see(PASS, part=Part(2, PASS, 1, 0, 0, 0.2)))
    events.show(line.see(PASS, part=Part(3, INVALID, 4, 0, 3, None)))
    assert [(event.title, event.verdict, event.reason) for event in events.all()] == [
        ("part 3", INVALID, "3 of 4 frames could not be trusted"),
        ("part 2", PASS, "1 frame looked at"),
        ("part 1", REJECT, "1 of 3 frames rejected"),
        ("black", INVALID, "the picture is almost black: mean 2 of 255"),
    ]


def test_a_part_is_shown_by_its_worst_frame_not_by_the_gap_behind_it(line: Line, no_rest: None) -> None:
    events = make(parts=True)
    for value, score in ((50, 0.6), (150, 0.95), (250, 0.7)):
        line.image = np.full((64, 64, 3), value, np.uint8)
        events.show(line.see(REJECT, score))
    line.image = np.zeros((64, 64, 3), np.uint8)
    events.show(line.see(PASS, 0.0, Part(1, REJECT, 3, 3, 0, 0.95)))
    jpeg = events.all()[0].jpeg
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2] == pytest.approx(150, abs=4)


def test_events_are_bounded_and_good_parts_never_push_out_bad_ones(line: Line) -> None:
    events = make(parts=True)
    for number in range(1, 40):
        events.show(line.see(REJECT, part=Part(number, REJECT, 1, 1, 0, 0.9)))
    for number in range(40, 140):
        events.show(line.see(PASS, part=Part(number, PASS, 1, 0, 0, 0.1)))
    kept = events.all()
    assert len(kept) == KEPT
    assert [event.verdict for event in kept] == [PASS] * GOOD_KEPT + [REJECT] * (KEPT - GOOD_KEPT)
    assert kept[0].title == "part 139"


def test_what_comes_too_fast_is_listed_without_a_picture(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    events = make(parts=True)
    for number, step in enumerate((0.0, 0.05, 0.06, 1.0), 1):
        clock.sleep(step)
        events.show(line.see(REJECT, part=Part(number, REJECT, 1, 1, 0, 0.9)))
    assert [event.jpeg is not None for event in events.all()[::-1]] == [True, False, True, True]
    assert events.picture(2) is None
    assert events.picture(99) is None
    assert str(events.picture(3))[2:].startswith("\\xff\\xd8")
