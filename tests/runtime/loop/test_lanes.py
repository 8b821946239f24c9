"""Lines are followed from frame to frame, and the same once more in a replay."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import OptionError
from edgecnn.runtime.loop.lanes import LaneSettings, LaneTracker
from edgecnn.runtime.loop.loop import LoopSettings
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.record import as_record
from edgecnn.runtime.loop.replay import Recording, replay
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.model import load
from edgecnn.runtime.sources import Frame
from edgecnn.vision.results import Decision, Lane, Verdict
from tests.runtime.lane_bundle import lines, road, write_lane_bundle
from tests.runtime.loop.fakes import ScriptedSource
from tests.runtime.sinks.observations import RUN

ROWS = np.arange(350.0, 150.0, -10.0)


def lane(side: str, x: float, kind: str = "solid", rows: np.ndarray = ROWS) -> Lane:
    """Return an upright line."""
    return Lane(side, kind, 0.9, np.stack([np.full_like(rows, x), rows], axis=1))


def followed(tracker: LaneTracker, seconds: float, *found: Lane) -> dict[str, Lane]:
    decision = tracker.update(Decision(lanes=found), (640, 360), seconds)
    return {line.side: line for line in decision.lanes}


def test_a_step_is_followed_as_a_low_pass_does() -> None:
    tracker = LaneTracker(LaneSettings(smoothing=0.1))
    assert followed(tracker, 0.0, lane("left", 100.0))["left"].points[:, 0] == pytest.approx(100.0)
    x, places = 100.0, []
    for number in range(1, 6):
        places.append(float(followed(tracker, number * 0.05, lane("left", 110.0))["left"].points[0, 0]))
        x += 0.05 / (0.1 + 0.05) * (110.0 - x)
        assert places[-1] == pytest.approx(x)
    assert followed(LaneTracker(LaneSettings(smoothing=0.0)), 0.0, lane("left", 1.0))["left"].points[0, 0] == 1.0


def test_noise_becomes_less() -> None:
    rng, tracker = np.random.default_rng(0), LaneTracker(LaneSettings())
    given = rng.normal(200, 5, 200)
    got = [followed(tracker, n / 30, lane("left", x))["left"].points[0, 0] for n, x in enumerate(given)]
    assert np.std(got[20:]) < 0.6 * np.std(given[20:])
    assert np.mean(got[20:]) == pytest.approx(200, abs=2)


def test_a_hidden_line_stays_for_a_while_and_is_less_and_less_sure() -> None:
    tracker = LaneTracker(LaneSettings(hold=0.4))
    followed(tracker, 0.0, lane("left", 100.0), lane("right", 500.0))
    scores = []
    for seconds in (0.1, 0.2, 0.39):
        found = followed(tracker, seconds, lane("right", 500.0))
        assert found["left"].points == pytest.approx(lane("left", 100.0).points)
        scores.append(found["left"].score)
    assert scores == pytest.approx([0.9 * 0.75, 0.9 * 0.5, 0.9 * 0.025])
    assert list(followed(tracker, 0.41, lane("right", 500.0))) == ["right"]


def test_a_line_that_jumps_is_believed_when_it_stays() -> None:
    tracker = LaneTracker(LaneSettings(hold=0.2, jump=0.05))
    followed(tracker, 0.0, lane("left", 100.0))
    assert followed(tracker, 0.1, lane("left", 140.0))["left"].points[0, 0] == pytest.approx(100.0)
    assert followed(tracker, 0.15, lane("left", 101.0))["left"].points[0, 0] < 101.0
    assert followed(tracker, 0.3, lane("left", 140.0))["left"].points[0, 0] < 101.0
    assert followed(tracker, 0.36, lane("left", 140.0))["left"].points[0, 0] == 140.0


def test_kinds_do_not_flicker_and_ends_are_those_of_the_new_line() -> None:
    tracker = LaneTracker(LaneSettings())
    for number in range(10):
        followed(tracker, number / 30, lane("left", 100.0, "dashed"))
    assert followed(tracker, 10 / 30, lane("left", 100.0, "solid"))["left"].kind == "dashed"
    short = followed(tracker, 11 / 30, lane("left", 104.0, "solid", ROWS[:5]))["left"]
    assert short.points[:, 1].tolist() == ROWS[:5].tolist()
    for number in range(12, 30):
        kind = followed(tracker, number / 30, lane("left", 100.0, "solid"))["left"].kind
    assert kind == "solid"


@pytest.mark.parametrize("change", ["size", "time"])
def test_another_camera_or_a_clock_that_goes_back_begins_anew(change: str) -> None:
    tracker = LaneTracker(LaneSettings())
    followed(tracker, 5.0, lane("left", 100.0), lane("right", 300.0))
    size, seconds = ((320, 180), 5.1) if change == "size" else ((640, 360), 1.0)
    (found,) = tracker.update(Decision(lanes=(lane("left", 110.0),)), size, seconds).lanes
    assert found.points[0, 0] == 110.0


def test_memory_goes_through_json_bit_for_bit() -> None:
    rng = np.random.default_rng(1)
    first = LaneTracker(LaneSettings())
    for number in range(5):
        followed(first, number / 7, lane("left", rng.normal(100, 3)), lane("right", rng.normal(500, 3), "dashed"))
    second = LaneTracker(LaneSettings())
    second.restore(json.loads(json.dumps(first.memory())))
    given = lane("left", 103.0)
    for seconds in (0.8, 0.9):
        one, other = followed(first, seconds, given), followed(second, seconds, given)
        assert one.keys() == other.keys() == {"left", "right"}
        for side in one:
            assert (one[side].points == other[side].points).all()
            assert (one[side].kind, one[side].score) == (other[side].kind, other[side].score)


@pytest.mark.parametrize("given", [{"smoothing": -1}, {"jump": 0}, {"departure": 0}, {"lane_width": -3}, {"hold": -1}])
def test_settings_that_cannot_be_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        LaneSettings(**given)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_lane_bundle(tmp_path)


def drive(shifts: Iterable[float]) -> list[Frame]:
    """Frames 30 ms apart of a car that goes ``shifts`` pixels to the left of its lane's middle."""
    return [Frame(road(shift), str(number), number * 0.03) for number, shift in enumerate(shifts)]


def watched(bundle: Path, frames: list[Frame], lanes: LaneSettings, sinks: tuple[str, ...] = ()) -> list[Observation]:
    settings = LoopSettings(rules=Rules(lanes=lanes))
    with load(bundle) as model:
        return list(model.watch(ScriptedSource(frames, live=False), settings=settings, sinks=sinks))


def test_a_bundle_with_this_task_finds_both_lines_where_they_are(bundle: Path) -> None:
    with load(bundle) as model:
        found = model(road(20.0)).decision
    assert [(line.side, line.kind) for line in found.lanes] == [("left", "solid"), ("right", "solid")]
    for line in found.lanes:
        (near, far) = lines(20.0)[line.side]
        y = line.points[:, 1]
        expected = far[0] + (near[0] - far[0]) * (y - far[1]) / (near[1] - far[1])
        assert np.abs(line.points[:, 0] - expected).max() < 2.0
    assert found.ego is not None
    assert found.ego.offset == pytest.approx(-20 / 200, abs=0.01)
    assert found.verdict is None


def test_leaving_the_lane_rejects(bundle: Path) -> None:
    frames = drive([0.0] * 5 + list(np.linspace(0, -60, 20)) + [-60.0] * 10)
    seen = watched(bundle, frames, LaneSettings(departure=0.2, lane_width=3.5))
    assert seen[4].verdict is Verdict.PASS
    assert seen[-1].verdict is Verdict.REJECT
    changes = [observation.number for observation in seen if observation.changed]
    assert len(changes) == 2
    (_, ego) = (as_record(seen[-1], RUN)[name] for name in ("lanes", "ego"))
    assert ego["offset"] == pytest.approx(0.3, abs=0.02)
    assert ego["offset_m"] == pytest.approx(0.3 * 3.5, abs=0.07)
    assert [observation.verdict for observation in watched(bundle, frames, LaneSettings())][-1] is None


def test_records_hold_lines_that_json_knows(bundle: Path) -> None:
    record = as_record(watched(bundle, drive([0.0]), LaneSettings())[0], RUN)
    assert json.loads(json.dumps(record)) == record
    assert [line["side"] for line in record["lanes"]] == ["left", "right"]
    for line in record["lanes"]:
        assert 5 < len(line["points"]) <= 12
        assert line["points"][0][1] > line["points"][-1][1]
    assert record["ego"].keys() == {"offset", "bend", "offset_m", "curvature"}


def test_a_recorded_event_gives_the_same_lines_again(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shifts = [float(rng.normal(0, 4)) for _ in range(30)] + [-60.0 + float(rng.normal(0, 4)) for _ in range(60)]
    settings = LaneSettings(departure=0.2, hold=0.1, smoothing=0.15)
    watched(bundle, drive(shifts), settings, (f"recorder:{tmp_path}/events?before=5&after=0.05&repeat=1",))
    event = next(path for path in (tmp_path / "events").iterdir() if path.name.endswith("REJECT"))
    with load(bundle) as model:
        recording = Recording.read(event)
        moments = replay(model, recording)
    assert recording.rules.lanes == settings
    assert len(moments) > 20
    assert {moment.differs for moment in moments} == {()}
    assert {moment.whole for moment in moments} == {True}
    assert max(abs(moment["ego"]["offset"]) for moment in recording.moments) > 0.2
    record = json.loads((event / "event.json").read_text())
    record["moments"][-1]["lanes"][0]["points"][0][0] += 0.1
    (event / "event.json").write_text(json.dumps(record))
    with load(bundle) as model:
        assert replay(model, Recording.read(event))[-1].differs == ("lanes",)
