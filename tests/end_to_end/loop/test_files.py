"""Video files that are cut off, disks that are full, sinks that fail: the loop goes on, and counts what was lost."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgecnn
from edgecnn.errors import SinkError
from edgecnn.runtime.loop import outlets
from edgecnn.runtime.loop.outlets import WAITING_FRAMES
from edgecnn.runtime.model import Model
from edgecnn.vision.results import Verdict
from tests.end_to_end.loop.watch import MIXED, TRUSTING, UNHURRIED, Watch, stamped, write_tiny
from tests.runtime.loop.fakes import ListSink
from tests.waiting import joined

BELT = "conveyor:?fps=50&size=128x96&defects=0.5"


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with edgecnn.load(write_tiny(tmp_path_factory.mktemp("trusting"), TRUSTING), threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with edgecnn.load(write_tiny(tmp_path_factory.mktemp("mixed"), MIXED), threads=1) as loaded:
        yield loaded


@contextmanager
def full_disk(size: int = 0) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes: writing fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def clip(path: Path, frames: int = 60) -> Path:
    """Write a video of noise."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (160, 120))
    for _ in range(frames):
        writer.write(stamped((160, 120)))
    writer.release()
    return path


def test_a_video_that_is_cut_off(trusting: Model, tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.avi")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    turns = list(trusting.watch(cut))

    assert 20 < len(turns) < 40
    assert {turn.verdict for turn in turns[:-1]} == {Verdict.PASS}
    assert turns[-1].verdict is Verdict.INVALID
    assert [finding.kind for finding in turns[-1].findings] == ["unreadable"]
    assert "cut off or damaged" in turns[-1].findings[0].reason
    assert turns[-1].name == f"cut.avi#{len(turns)}"


def test_a_video_that_is_cut_off_while_it_is_read(trusting: Model, tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", 200)
    turns = []
    for turn in trusting.watch(f"video:{path}?pace=1"):
        turns.append(turn)
        if turn.number == 20:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 4)

    # What was read from the file before may still be shown.
    assert 20 < len(turns) < 200
    assert turns[-1].verdict is Verdict.INVALID
    assert {turn.verdict for turn in turns[:-1]} == {Verdict.PASS}


def test_a_disk_that_is_full_for_a_while(mixed: Model, tmp_path: Path) -> None:
    sinks = [
        f"jsonl:{tmp_path}/log.jsonl?every=turn",
        f"recorder:{tmp_path}/events?before=0.1&after=0.1&max_per_minute=1000",
    ]
    loop = mixed.watch(BELT, sinks=sinks, settings=UNHURRIED)
    with Watch(loop) as watch:
        watch.until(lambda: all(sink.delivered > 20 for sink in loop.snapshot().sinks), "first lines")
        with full_disk():
            before = len(watch.turns)
            watch.until(lambda: all(sink.lost > 0 for sink in loop.snapshot().sinks), "losses")
            watch.until(lambda: len(watch.turns) > before + 50, "50 turns")
            during = loop.snapshot()
        lost = [sink.lost for sink in loop.snapshot().sinks]
        watch.until(lambda: loop.snapshot().sinks[0].delivered > during.sinks[0].delivered + 20, "more lines")
        kept = len(list((tmp_path / "events").glob("2*")))
        watch.until(lambda: len(list((tmp_path / "events").glob("2*"))) > kept, "an event")
    figures = loop.snapshot()

    assert watch.error is None
    assert "File too large" in during.sinks[0].error
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == figures.sinks[0].delivered
    assert figures.sinks[0].delivered + figures.sinks[0].lost == figures.turns
    assert lost[0] <= figures.sinks[0].lost
    assert_whole(tmp_path / "events")


def assert_whole(events: Path, hidden: bool = False) -> None:
    """Every event is there with all of its files, and nothing else is but what is ``hidden``, half-written."""
    found = sorted(path for path in events.iterdir() if not hidden or not path.name.startswith("."))
    assert found
    for event in found:
        assert not event.name.startswith("."), event
        record = json.loads((event / "event.json").read_text())
        with np.load(event / "frames.npz") as frames:
            assert len(frames["tensors"]) == sum(moment["tensor"] is not None for moment in record["moments"])
        for name in ("frame.jpg", "overlay.jpg"):
            assert cv2.imread(str(event / name)) is not None


def test_an_event_that_the_end_completes_on_a_full_disk_is_counted(trusting: Model, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        cv2.imwrite(str(pictures / f"{number}.png"), np.zeros((64, 64, 3), np.uint8))
    loop = trusting.watch(pictures, sinks=[f"recorder:{tmp_path}/events?after=50"])
    with full_disk():
        turns = list(loop)
    figures = loop.snapshot().sinks[0]

    assert {turn.verdict for turn in turns} == {Verdict.INVALID}
    assert (figures.delivered, figures.lost) == (4, 1)
    assert "the event is lost" in figures.error
    assert list((tmp_path / "events").iterdir()) == []


@pytest.mark.parametrize("size", [0, 3000])
def test_a_video_on_a_full_disk_is_no_video(mixed: Model, tmp_path: Path, size: int) -> None:
    loop = mixed.watch(BELT, sinks=[f"video:{tmp_path}/clip.mp4"])
    with full_disk(size), Watch(loop) as watch:
        watch.until(lambda: len(watch.turns) > 60, "60 turns")
    figures = loop.snapshot()

    assert watch.error is None
    assert list(tmp_path.iterdir()) == []
    assert (figures.sinks[0].delivered, figures.sinks[0].lost) == (0, figures.turns)
    assert "disk" in figures.sinks[0].error


SINKS = ("jsonl:{place}/log.jsonl", "recorder:{place}/events", "video:{place}/clip.mp4", "video:{place}/clip.avi")


@pytest.mark.parametrize("sink", SINKS)
def test_what_cannot_write_is_refused_at_the_start(mixed: Model, tmp_path: Path, sink: str) -> None:
    address = sink.format(place=tmp_path)
    with full_disk(), pytest.raises(SinkError, match="cannot be"):
        mixed.watch(BELT, sinks=[address])
    with mixed.watch(BELT, sinks=[address]), pytest.raises(SinkError, match="another process"):
        mixed.watch(BELT, sinks=[address])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("sink", SINKS)
def test_a_place_that_cannot_be_written_is_refused_at_the_start(mixed: Model, tmp_path: Path, sink: str) -> None:
    with pytest.raises(SinkError, match=r"cannot be (made|written|used)"):
        mixed.watch(BELT, sinks=[sink.format(place="/proc/self")])


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_of_a_file_nothing_is_lost(trusting: Model, tmp_path: Path, kind: str) -> None:
    source, count = tmp_path / "source.avi", 150
    clip(source, count)
    if kind == "folder":
        source = tmp_path / "photos"
        source.mkdir()
        for number in range(count):
            cv2.imwrite(str(source / f"{number:03}.png"), stamped((160, 120)))
    slow, events = ListSink(images=True, hangs=True), ListSink(every_turn=True)
    sinks = [f"video:{tmp_path}/clip.avi", f"jsonl:{tmp_path}/log.jsonl?every=turn", f"recorder:{tmp_path}/events"]
    loop = trusting.watch(source, sinks=sinks, settings=UNHURRIED)
    loop.add("slow", slow)
    loop.add("events", events)
    with Watch(loop) as watch:
        watch.until(lambda: loop.snapshot().sinks[3].waiting > WAITING_FRAMES, "a queue that is full")
        held = len(watch.turns)
        slow.released.set()
        joined(watch.thread)
    figures = loop.snapshot()

    assert held <= WAITING_FRAMES + 1
    assert watch.error is None
    assert [sink.delivered for sink in figures.sinks] == [count] * 5
    assert [(sink.lost, sink.waiting, sink.last_error) for sink in figures.sinks] == [(0, 0, "")] * 5
    assert [seen.number for seen in slow.seen] == list(range(1, count + 1))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == count
    video = cv2.VideoCapture(str(tmp_path / "clip.avi"))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == count


def test_a_file_waits_for_no_sink_that_hangs(trusting: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "HANG_SECONDS", 1.5)
    monkeypatch.setattr(outlets, "CLOSE_SECONDS", 1.5)
    hanging = ListSink(images=True, hangs=True)
    loop = trusting.watch(clip(tmp_path / "source.avi", 150), sinks=[f"jsonl:{tmp_path}/log.jsonl?every=turn"])
    loop.add("hanging", hanging)
    turns = list(loop)
    figures = loop.snapshot()
    hanging.released.set()

    assert len(turns) == 150
    assert (figures.sinks[0].delivered, figures.sinks[0].lost) == (150, 0)
    assert (figures.sinks[1].delivered, figures.sinks[1].lost, figures.sinks[1].waiting) == (0, 149, 1)
    assert "hangs" in figures.sinks[1].error


def test_sinks_that_raise_or_hang_cost_the_loop_nothing(mixed: Model) -> None:
    raising, hanging, sound = ListSink(fails=True), ListSink(hangs=True), ListSink()
    loop = mixed.watch(BELT)
    for name, sink in (("raising", raising), ("hanging", hanging), ("sound", sound)):
        loop.add(name, sink)
    with Watch(loop) as watch:
        watch.until(lambda: len(watch.turns) > 60, "60 turns")
        figures = loop.snapshot()
        hanging.released.set()
    figures = loop.snapshot()

    assert watch.error is None
    assert [sink.delivered for sink in figures.sinks] == [0, figures.turns, figures.turns]
    assert [sink.lost for sink in figures.sinks] == [figures.turns, 0, 0]
    assert "no space left" in figures.sinks[0].error
    assert len(sound.seen) == figures.turns
