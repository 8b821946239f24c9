from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.loop.loop import Loop, LoopSettings
from edgecnn.runtime.loop.outlets import WAITING_FRAMES
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.replay import Recording, replay
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.model import Model, load
from edgecnn.runtime.sources import Frame
from tests.clock import Clock
from tests.runtime.loop.fakes import ScriptedSource, frames
from tests.waiting import until

RULES = Rules(HealthSettings(frozen_seconds=0.1), PartSettings(reject=2, window=4, release=3, margin=0.05))
OPTIONS = "before=5&after=0.05&repeat=1"


def moving(count: int) -> list[Frame]:
    """Frames 10 ms apart; a black one and a frozen stretch among them."""
    pictures = [frame.image for frame in frames(count)]
    pictures[7] = np.zeros_like(pictures[7])
    pictures[15:32] = [pictures[15]] * 17
    return [Frame(picture, str(number), number / 100) for number, picture in enumerate(pictures)]


def recorded(model: Model, folder: Path, rules: Rules = RULES) -> list[Path]:
    """Watch, and return the events that were recorded: the same ones, however busy this machine is."""
    # The recorder takes an event that no frame completes for over by the machine's clock, which is far behind this one.
    clock = Clock(1e9)

    def read(frame: Frame) -> Frame:
        clock.sleep(0.01)
        return frame

    sinks = [f"recorder:{folder}?{OPTIONS}"]
    source = ScriptedSource((partial(read, frame) for frame in moving(60)), live=False)
    loop = Loop.of(model, source, sinks=sinks, settings=LoopSettings(rules=rules), clock=clock)
    for _ in loop:
        # Frames in memory come faster than a busy machine records them, and none may be lost.
        until(lambda: loop.snapshot().sinks[0].waiting < WAITING_FRAMES // 2, "the recorder")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def event(defect_bundle: Path, tmp_path: Path) -> Path:
    with load(defect_bundle) as model:
        return recorded(model, tmp_path / "events")[0]


def edit(event: Path, change: Callable[[dict[str, object]], None]) -> None:
    record = json.loads((event / "event.json").read_text())
    change(record)
    (event / "event.json").write_text(json.dumps(record))


def test_an_event_says_the_same_once_more(defect_bundle: Path, tmp_path: Path) -> None:
    with load(defect_bundle) as model:
        events = recorded(model, tmp_path / "events")
        found = [replay(model, Recording.read(event)) for event in events]

    moments = [moment for event in found for moment in event]
    assert len(moments) > 20
    assert {moment.differs for moment in moments} == {()}
    assert {moment.whole for moment in moments} == {True}
    assert {"INVALID"} < {moment.verdict for moment in moments}


def test_gap_mode_with_its_empty_place(defect_bundle: Path, tmp_path: Path) -> None:
    rules = Rules(parts=PartSettings(mode="gap"), empty=np.zeros((20, 20, 3), np.uint8))
    with load(defect_bundle) as model:
        recording = Recording.read(recorded(model, tmp_path / "events", rules)[0])
        assert {moment.differs for moment in replay(model, recording)} == {()}
        assert np.array_equal(recording.rules.empty, rules.empty)


def test_missing_frames_leave_what_the_model_said(event: Path, defect_bundle: Path) -> None:
    recording = Recording.read(event)
    first = next(at for at, moment in enumerate(recording.moments) if at and moment["memory"] is None)
    moments = [*recording.moments[: first - 1], *recording.moments[first:]]
    for moment in moments[:first]:
        moment["memory"] = None
    with load(defect_bundle) as model:
        found = replay(model, dataclasses.replace(recording, moments=moments))

    assert [moment.whole for moment in found[:first]] == [False] * first
    assert {moment.differs for moment in found} == {()}


def test_what_differs_is_named(event: Path, defect_bundle: Path) -> None:
    def change(record: dict[str, object]) -> None:
        asked = next(moment for moment in record["moments"] if moment["outputs_sha256"])
        asked["outputs_sha256"], asked["score"] = "0" * 64, 0.123

    edit(event, change)
    with load(defect_bundle) as model:
        found = replay(model, Recording.read(event))

    assert [moment.differs for moment in found if moment.differs] == [("outputs", "score")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(schema=99), "schema 99, this version of edgecnn reads 2"),
        (lambda record: record.pop("moments"), "no recorded event, or a damaged one"),
        (lambda record: record["moments"].pop(), "moments with a frame"),
        (lambda record: record["rules"]["health"].update(magic=1), "magic"),
        (lambda record: record["rules"]["parts"].update(release=0), "at least 1"),
    ],
)
def test_damaged_events_are_refused(event: Path, change: Callable[[dict[str, object]], None], message: str) -> None:
    edit(event, change)

    with pytest.raises(DataError, match=message):
        Recording.read(event)


def test_what_is_no_event_is_refused(tmp_path: Path, event: Path) -> None:
    with pytest.raises(DataError, match=r"expected a folder with event\.json and frames\.npz"):
        Recording.read(tmp_path)
    np.savez(event / "frames.npz", tensors=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no recorded event, or a damaged one"):
        Recording.read(event)
    (event / "frames.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="no recorded event, or a damaged one"):
        Recording.read(event)


def test_another_bundle_is_refused(event: Path, defect_bundle: Path) -> None:
    recording = Recording.read(event)
    larger = dataclasses.replace(recording, tensors=np.zeros((len(recording.tensors), 16, 16, 3), np.uint8))
    with load(defect_bundle) as model, pytest.raises(DataError, match="it was recorded with another bundle, 'tiny'"):
        replay(model, larger)
