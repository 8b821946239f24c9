"""A whole loop on real servers that fail in every way: never a wrong PASS, INVALID in time, and back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import edgecnn
from benchmarks.loop_faults import BACK_SECONDS, FAULTS, NOTICE_SECONDS, Fault, watch_through
from edgecnn.runtime.model import Model
from tests.end_to_end.loop.watch import Watch, write_tiny
from tests.servers.rtsp import require_rtsp

QUICK = {
    "mjpeg killed": 1.5,
    "mjpeg pictures cut in half": 0.5,
    "rtsp killed": 1.5,
    "rtsp bytes changed on the way": 0.5,
}
"""Faults that every run of the tests tries, and for how many seconds; the others are slow."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with edgecnn.load(write_tiny(tmp_path_factory.mktemp("trusting")), threads=1) as loaded:
        yield loaded


def check(model: Model, fault: Fault) -> None:
    """Check what was said; that every frame was judged or counted as dropped, `watch_through` waits for."""
    if fault.name.startswith("rtsp"):
        require_rtsp()
        pytest.importorskip("av")
    found = watch_through(model, fault)

    assert found.wrong == []
    assert found.back <= BACK_SECONDS
    if fault.silent:
        assert found.invalid is not None
        assert found.invalid <= NOTICE_SECONDS


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in QUICK], ids=lambda fault: fault.name)
def test_a_source_that_fails(model: Model, fault: Fault) -> None:
    check(model, replace(fault, seconds=QUICK[fault.name]))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_source_that_fails_for_long(model: Model, fault: Fault) -> None:
    check(model, fault)


def test_a_camera_that_is_not_there(model: Model) -> None:
    loop = model.watch("97")
    with Watch(loop) as watch:
        watch.until(lambda: bool(watch.turns), "a turn")
        figures = loop.snapshot()

    assert watch.error is None
    assert {turn.kinds for turn in watch.turns} == {("no_frame",)}
    assert not any(turn.trusted for turn in watch.turns)
    assert "there is no /dev/video97" in figures.source_error
    assert (figures.connects, figures.connected) == (0, False)
