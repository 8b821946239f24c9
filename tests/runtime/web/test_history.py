from __future__ import annotations

import pytest

from edgecnn.runtime.web import history as module
from edgecnn.runtime.web.history import SAMPLES, STEP, History, Sample
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.web.conftest import Line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_sample_has_the_quantiles_of_its_ages_and_the_drops_since_the_last(line: Line, clock: Clock) -> None:
    import dataclasses

    history = History()
    for age in range(1, 101):
        history.add(dataclasses.replace(line.see(Verdict.PASS), age=age / 1000))
    assert not history.is_due()
    clock.sleep(STEP)
    assert history.is_due()
    history.tick(7)
    clock.sleep(STEP)
    history.tick(9)
    assert history.samples() == [Sample(0.05, 0.099, 7), Sample(None, None, 2)]


def test_turns_without_a_frame_have_no_age(line: Line, clock: Clock) -> None:
    history = History()
    history.add(line.see(Verdict.INVALID, frame=False))
    clock.sleep(STEP)
    history.tick(0)
    assert history.samples() == [Sample(None, None, 0)]


def test_a_pause_makes_up_no_samples_and_samples_are_bounded(clock: Clock) -> None:
    history = History()
    clock.sleep(1000 * STEP)
    while history.is_due():
        history.tick(0)
    assert len(history.samples()) <= 2
    for _ in range(SAMPLES + 50):
        clock.sleep(STEP)
        history.tick(0)
    assert len(history.samples()) == SAMPLES
