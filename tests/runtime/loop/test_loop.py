from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import EngineError, OptionError, SourceError
from edgecnn.runtime.engines import Engine
from edgecnn.runtime.loop.loop import Loop, LoopSettings
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.model import Model, load
from edgecnn.runtime.sources import Frame, NoFrame
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.loop.fakes import ListSink, ScriptedSource, frames, loop_threads, lost, pause
from tests.waiting import PATIENCE, joined, until

GOOD, BAD, DARK, EMPTY = "good", "bad", "dark", "empty"
LEVELS = {GOOD: 100, BAD: 200, DARK: 0, EMPTY: 50}


def shown(kind: str, seed: int = 0) -> Frame:
    """A frame whose brightness tells the fake engine what to say."""
    noise = np.random.default_rng(seed).integers(0, 9, (32, 32, 3), np.uint8)
    return Frame(np.zeros((32, 32, 3), np.uint8) if kind == DARK else LEVELS[kind] + noise, kind)


class BrightnessEngine:
    """Says defect where the picture is bright; may be told to fail, to hang, or to do something before."""

    def __init__(self, real: Engine) -> None:
        self.inputs, self.outputs = real.inputs, real.outputs
        self.failing = self.ran = 0
        self.hold = threading.Event()
        self.hold.set()
        self.before: Callable[[], None] = lambda: None

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        self.ran += 1
        self.before()
        self.hold.wait(PATIENCE)
        if self.failing > 0:
            self.failing -= 1
            raise EngineError("the device went away")
        scores = np.full((1, 4), 128, np.uint8)
        scores[0, 1 if arrays[0].mean() > 150 else 0] = 255
        return [scores]

    def close(self) -> None:
        pass


@pytest.fixture
def model(defect_bundle: Path) -> Iterable[Model]:
    with load(defect_bundle, "reference") as loaded:
        loaded._engine = BrightnessEngine(loaded._engine)
        yield loaded
    assert loop_threads() == []


def watched(model: Model, script: Iterable[object], live: bool = False, **settings: object) -> list[Observation]:
    return list(model.watch(ScriptedSource(script, live), settings=LoopSettings(**settings)))


def kinds(observation: Observation) -> list[str]:
    return [finding.kind for finding in observation.findings]


def test_verdict_of_every_frame(model: Model) -> None:
    seen = watched(model, [shown(kind, seed) for seed, kind in enumerate([GOOD, BAD, GOOD, DARK, GOOD])])

    assert [turn.verdict for turn in seen] == [
        Verdict.PASS,
        Verdict.REJECT,
        Verdict.PASS,
        Verdict.INVALID,
        Verdict.PASS,
    ]
    assert [turn.number for turn in seen] == [1, 2, 3, 4, 5]
    assert [turn.changed for turn in seen] == [True] * 5
    assert kinds(seen[3]) == ["black"]
    assert (seen[3].result, seen[3].score) == (None, None)
    assert seen[1].label == "scratch"
    assert seen[0].image is not None
    assert seen[0].tensor is not None
    assert seen[0].tensor.shape == (1, 8, 8, 3)
    assert all(0 <= turn.age < PATIENCE for turn in seen)


def test_a_frame_that_cannot_be_used_is_invalid_and_the_loop_goes_on(model: Model) -> None:
    deep = Frame(np.zeros((8, 8, 3), np.uint16), "8.png")
    seen = watched(model, [NoFrame("7.png: damaged", "7.png"), deep, Frame(np.zeros((8, 8, 4), np.uint8)), shown(GOOD)])

    assert [kinds(turn) for turn in seen] == [["unreadable"], ["unusable"], ["unusable"], []]
    assert seen[0].findings[0].reason == "7.png: damaged"
    assert [turn.name for turn in seen[:2]] == ["7.png", "8.png"]
    assert "must be uint8" in seen[1].findings[0].reason
    assert [turn.verdict for turn in seen] == [Verdict.INVALID] * 3 + [Verdict.PASS]


def test_silence_of_a_live_source_is_invalid_again_and_again(model: Model) -> None:
    clock = Clock()
    source = ScriptedSource([shown(GOOD), *(pause(0.02) for _ in range(100000))])
    with Loop.of(model, source, settings=LoopSettings(silence=0.1), clock=clock) as loop:
        turns = [next(loop)]
        for _ in range(3):
            clock.sleep(0.2)
            turns.append(next(loop))
        figures = loop.snapshot()

    assert [turn.verdict for turn in turns] == [Verdict.PASS] + [Verdict.INVALID] * 3
    assert [turn.changed for turn in turns] == [True, True, False, False]
    assert [kinds(turn) for turn in turns[1:]] == [["no_frame"]] * 3
    assert turns[1].image is None
    assert [turn.findings[0].reason for turn in turns[1:]] == [f"no frame for 0.{tenths} s" for tenths in (2, 4, 6)]
    assert figures.verdicts == {"PASS": 1, "REJECT": 0, "INVALID": 3, "NONE": 0}
    assert figures.findings == {"no_frame": 3}
    assert figures.state == "INVALID"


def test_why_there_is_no_frame_is_said(model: Model) -> None:
    clock = Clock()
    source = ScriptedSource(repeat(lost("cable pulled")))
    with Loop.of(model, source, settings=LoopSettings(silence=0.1), clock=clock) as loop:
        until(lambda: loop.snapshot().source_error, "the loss")
        clock.sleep(0.2)
        turn = next(loop)

    assert turn.verdict is Verdict.INVALID
    assert turn.findings[0].reason.endswith("s: cable pulled")


@pytest.mark.parametrize(("took", "verdict", "found"), [(0.1, Verdict.PASS, []), (0.3, Verdict.INVALID, ["stale"])])
def test_a_verdict_that_comes_too_late_is_invalid(
    model: Model, took: float, verdict: Verdict, found: list[str]
) -> None:
    clock = Clock()
    model._engine.before = lambda: clock.sleep(took)
    source = ScriptedSource([shown(GOOD), *(pause(0.05) for _ in range(10000))])
    with Loop.of(model, source, settings=LoopSettings(stale=0.2), clock=clock) as loop:
        turn = next(loop)

    assert (turn.verdict, kinds(turn)) == (verdict, found)
    assert turn.age == pytest.approx(took)


def test_an_engine_that_fails_once_is_invalid_and_one_that_keeps_failing_ends_the_loop(model: Model) -> None:
    model._engine.failing = 1
    seen = watched(model, [shown(GOOD), shown(BAD)])

    assert [(turn.verdict, kinds(turn)) for turn in seen] == [(Verdict.INVALID, ["engine"]), (Verdict.REJECT, [])]
    model._engine.failing = 3
    with pytest.raises(EngineError, match="failed 3 times in a row, last: the device went away"):
        watched(model, [shown(GOOD)] * 5)


def test_a_stuck_engine_is_said_to_the_sinks_by_the_watchdog(model: Model) -> None:
    stuck: list[float] = []
    clock, sink = Clock(), ListSink(every_turn=False)
    settings = LoopSettings(stuck=1.5, stale=5.0, on_stuck=stuck.append)
    source = ScriptedSource([shown(GOOD), shown(GOOD)])
    with Loop.of(model, source, every="frame", settings=settings, clock=clock) as loop:
        loop.add("list", sink)
        next(loop)
        model._engine.hold.clear()
        waiting = threading.Thread(target=lambda: next(loop))
        waiting.start()
        until(lambda: model._engine.ran == 2, "the engine hangs")
        clock.sleep(2.0)
        until(lambda: len(stuck) == 1, "the watchdog speaks up")
        until(lambda: len(sink.seen) == 2, "the sink hears of it")
        model._engine.hold.set()
        joined(waiting)
        until(lambda: len(sink.seen) == 3, "the sink hears that it is over")

    assert [(turn.verdict, kinds(turn)) for turn in sink.seen] == [
        (Verdict.PASS, []),
        (Verdict.INVALID, ["stuck"]),
        (Verdict.PASS, []),
    ]
    assert stuck == [2.0]
    assert [turn.name for turn in sink.seen] == [GOOD] * 3
    numbers = [turn.number for turn in sink.seen]
    assert numbers[0] < numbers[1]
    assert len(set(numbers)) == 3


def test_parts_between_gaps(model: Model) -> None:
    empty = shown(EMPTY).image
    order = [EMPTY, GOOD, GOOD, EMPTY, EMPTY, GOOD, BAD, GOOD, EMPTY, GOOD, DARK, DARK, EMPTY, GOOD]
    script = [shown(kind, seed) for seed, kind in enumerate(order)]
    seen = watched(model, script, rules=Rules(parts=PartSettings(mode="gap"), empty=empty))

    assert [(turn.part.number, turn.part.verdict, turn.part.frames) for turn in seen if turn.part] == [
        (1, Verdict.PASS, 2),
        (2, Verdict.REJECT, 3),
        (3, Verdict.INVALID, 3),
    ]
    assert [turn.verdict for turn in seen if turn.name == EMPTY] == [None] * 5
    assert model._engine.ran == 7


def test_every_triggered_frame_is_a_part(model: Model) -> None:
    seen = watched(model, [shown(GOOD), shown(BAD), shown(DARK)], rules=Rules(parts=PartSettings(mode="frame")))

    assert [turn.part.verdict for turn in seen if turn.part] == [Verdict.PASS, Verdict.REJECT, Verdict.INVALID]


@pytest.mark.parametrize("mode", ["frame", "gap"])
def test_a_lost_camera_makes_no_parts(model: Model, mode: str) -> None:
    clock, released = Clock(), threading.Event()

    def wait() -> NoFrame:
        released.wait(PATIENCE)
        return NoFrame()

    rules = Rules(parts=PartSettings(mode=mode), empty=shown(EMPTY).image if mode == "gap" else None)
    after = [GOOD, EMPTY] if mode == "gap" else [GOOD]
    script = [*map(shown, after), wait, *map(shown, after), wait]
    settings = LoopSettings(silence=0.1, rules=rules)
    with Loop.of(model, ScriptedSource(script), every="frame", settings=settings, clock=clock) as loop:
        before = [next(loop) for _ in after]
        silent = []
        for _ in range(3):
            clock.sleep(0.2)
            silent.append(next(loop))
        released.set()
        later = [next(loop) for _ in after]
        figures = loop.snapshot()

    assert [kinds(turn) for turn in silent] == [["no_frame"]] * 3
    assert [turn.part for turn in silent] == [None] * 3
    assert [turn.part.number for turn in (*before, *later) if turn.part] == [1, 2]
    assert figures.parts == {"PASS": 2, "REJECT": 0, "INVALID": 0}


def test_a_part_in_view_of_a_camera_that_is_lost_was_not_seen_whole(model: Model) -> None:
    clock, released = Clock(), threading.Event()

    def wait() -> NoFrame:
        released.wait(PATIENCE)
        return NoFrame()

    rules = Rules(parts=PartSettings(mode="gap"), empty=shown(EMPTY).image)
    script = [shown(GOOD), wait, shown(EMPTY)]
    settings = LoopSettings(silence=0.1, rules=rules)
    with Loop.of(model, ScriptedSource(script), every="frame", settings=settings, clock=clock) as loop:
        next(loop)
        for _ in range(2):
            clock.sleep(0.2)
            next(loop)
        released.set()
        part = next(loop).part

    assert part is not None
    assert (part.verdict, part.frames, part.invalid) == (Verdict.INVALID, 3, 2)


def test_a_watched_share_is_waited_for_like_a_camera(model: Model, tmp_path: Path) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    cv2.imwrite(str(share / "a.png"), shown(GOOD).image)
    address = f"folder:{share}?watch=1"
    with model.watch(address, settings=LoopSettings(silence=0.1)) as loop:
        first = next(loop)
        share.rename(away)
        missing = next(loop)
        away.rename(share)
        cv2.imwrite(str(share / "b.png"), shown(GOOD).image)
        later = next(turn for turn in loop if turn.image is not None)
    with model.watch(address) as loop:
        cv2.imwrite(str(share / "c.png"), shown(GOOD).image)
        restarted = next(loop)

    until(lambda: loop_threads() == [], "the end of a read that waits for files")
    assert (first.name, first.verdict) == ("a.png", Verdict.PASS)
    assert (missing.verdict, kinds(missing)) == (Verdict.INVALID, ["no_frame"])
    assert str(share) in missing.findings[0].reason
    assert (later.name, later.verdict) == ("b.png", Verdict.PASS)
    assert restarted.name == "c.png"


def test_figures_and_sinks(model: Model) -> None:
    sink = ListSink(images=True)
    with model.watch(ScriptedSource(frames(20), live=False)) as loop:
        loop.add("list", sink)
        turns = list(loop)
        figures = loop.snapshot()

    assert [seen.number for seen in sink.seen] == [turn.number for turn in turns]
    assert (figures.turns, figures.frames, figures.dropped, figures.connects) == (20, 20, 0, 1)
    assert sum(figures.verdicts.values()) == 20
    assert (figures.age.count, figures.inference.count) == (20, 20)
    assert [item.delivered for item in figures.sinks] == [20]
    assert figures.sinks[0].address == "list"


def test_it_can_be_closed_from_another_thread(model: Model) -> None:
    script = iter([shown(GOOD), *(pause(0.01) for _ in range(100000))])
    loop = model.watch(ScriptedSource(script))
    turns: list[Observation] = []
    reader = threading.Thread(target=lambda: turns.extend(loop))
    reader.start()
    until(lambda: loop.snapshot().turns > 0, "the first turn")

    loop.close()
    joined(reader)

    # Neither waited for the source, which would go on for a quarter of an hour.
    assert next(script)
    assert turns[0].verdict is Verdict.PASS


def test_a_closed_model_says_so(defect_bundle: Path) -> None:
    loaded = load(defect_bundle, "reference")
    loaded.close()

    with pytest.raises(EngineError, match="the model was closed"):
        loaded(np.zeros((8, 8, 3), np.uint8))


def test_real_engine_and_real_bundle(defect_bundle: Path) -> None:
    with load(defect_bundle) as loaded:
        pictures = frames(5)
        seen = list(loaded.watch(ScriptedSource(pictures, live=False)))
        alone = [loaded(frame.image) for frame in pictures]

    assert [turn.score for turn in seen] == [result.score for result in alone]
    assert [
        np.array_equal(turn.result.outputs[0].integers, result.outputs[0].integers)
        for turn, result in zip(seen, alone, strict=True)
    ] == [True] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "rtps://cam"}, r"unknown source 'rtps:'\. Did you mean 'rtsp:'\?"),
        ({"source": "no-such-file.mp4"}, "no-such-file.mp4: no such file, folder or camera"),
        ({"source": ScriptedSource([]), "every": "newest"}, "every must be one of latest, frame, got 'newest'"),
        ({"source": ScriptedSource([]), "sinks": ["mqt://host/x"]}, r"unknown sink 'mqt:'\. Did you mean 'mqtt:'\?"),
    ],
)
def test_what_is_refused(model: Model, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        model.watch(**arguments)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="silence must be more than 0 seconds, got 0"):
        LoopSettings(silence=0)
    with pytest.raises(OptionError, match="a picture of the empty place go together"):
        Rules(parts=PartSettings(mode="gap"))


def test_a_source_that_cannot_be_opened_and_is_not_live_raises(model: Model) -> None:
    class Refusing(ScriptedSource):
        def open(self) -> None:
            raise SourceError("no such thing")

    with pytest.raises(SourceError, match=r"^no such thing$"):
        list(Loop.of(model, Refusing([], live=False)))


def test_observations_are_frozen(model: Model) -> None:
    turn = watched(model, [shown(GOOD)])[0]

    with pytest.raises(dataclasses.FrozenInstanceError):
        turn.verdict = Verdict.PASS


def test_a_clock_that_jumps_changes_nothing(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [shown(kind, seed) for seed, kind in enumerate([GOOD, BAD, GOOD, DARK, GOOD])]
    steady = [turn.verdict for turn in watched(model, script)]
    clock = iter([2e9, 1.0, 4e9, 0.0, 1.7e9] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(clock))

    sinks = [f"jsonl:{tmp_path}/log.jsonl?summary=1", f"recorder:{tmp_path}/events"]
    with model.watch(ScriptedSource(script, live=False), sinks=sinks) as loop:
        turns = list(loop)

    assert [turn.verdict for turn in turns] == steady
    assert all(0 <= turn.age < PATIENCE for turn in turns)
    assert [(sink.lost, sink.error) for sink in loop.snapshot().sinks] == [(0, ""), (0, "")]
    assert loop.snapshot().uptime < PATIENCE


def test_records_say_where_they_come_from(defect_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_900_000_000, 2_000_000_000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    log = tmp_path / "log.jsonl"
    for station in ("line 3", ""):
        settings = LoopSettings(station=station)
        sinks = [f"jsonl:{log}?every=turn", f"recorder:{tmp_path / 'events'}"]
        source = ScriptedSource([shown(GOOD), NoFrame("b.png: damaged", "b.png"), shown(GOOD)], live=False)
        with load(defect_bundle, "reference") as loaded:
            list(loaded.watch(source, sinks=sinks, settings=settings))

    records = [json.loads(line) for line in log.read_text().splitlines()]
    digest = hashlib.sha256((defect_bundle / "manifest.json").read_bytes()).hexdigest()
    assert {record["bundle_sha256"] for record in records} == {digest}
    assert [record["station"] for record in records] == ["line 3"] * 3 + [socket.gethostname()] * 3
    assert len({record["run"] for record in records}) == 2
    identities = [record["id"] for record in records]
    assert identities == sorted(set(identities))
    assert all(record["id"].startswith(record["run"]) for record in records)
    assert [record["name"] for record in records] == [GOOD, "b.png", GOOD] * 2
    event = json.loads(next((tmp_path / "events").iterdir()).joinpath("event.json").read_text())
    assert (event["id"], event["station"], event["run"]) == (identities[1], "line 3", records[1]["run"])
    assert [moment["name"] for moment in event["moments"]] == [GOOD, "b.png", GOOD]


def test_stills_are_judged_one_by_one(model: Model) -> None:
    source = ScriptedSource([shown(GOOD)], live=False)
    source.STILLS = True
    triggered = LoopSettings(rules=Rules(parts=PartSettings(mode="frame")))

    with model.watch(source) as loop, model.watch(ScriptedSource([], live=False), settings=triggered) as frames_loop:
        stills, trigger = loop.context.rules.health, frames_loop.context.rules.health

    assert (stills.check_seconds, stills.persist_seconds, stills.size, stills.frozen_seconds) == (0, 0, False, None)
    assert (trigger.check_seconds, trigger.persist_seconds, trigger.size, trigger.frozen_seconds) == (0, 0, True, 0.5)


def test_what_cannot_be_judged_is_said(model: Model) -> None:
    with model.watch(ScriptedSource([], live=False)) as loop:
        assert "the bundle does not know what pictures of this camera look like" in loop.remarks[0]
