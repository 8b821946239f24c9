from __future__ import annotations

import dataclasses
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.loop.event import RECORD_BYTES, SCHEMA, Event, Origin
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.outlets import WAITING_FRAMES, Outlet
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.record import as_record, digest, time_text
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.sinks import _backlog, open_sink, recorder
from edgecnn.runtime.sinks.recorder import WAITING, Recorder
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.observations import (
    BLACK,
    INVALID,
    MANIFEST,
    PASS,
    REJECT,
    RUN,
    TIME,
    context,
    judged,
    nothing_left,
    observed,
    result,
    started,
)
from tests.waiting import PATIENCE, until

START = time.monotonic() + 1e6
"""Nothing is over for `Sink.idle` before this."""


def opened(place: Path, options: str = "", parts: bool = False) -> Recorder:
    sink = open_sink(f"recorder:{place}?{options}", context(parts))
    assert isinstance(sink, Recorder)
    return sink


def seen(number: int, verdict: Verdict = PASS, shape: tuple[int, ...] = (36, 64, 3), **changed: Any) -> Observation:
    """A turn with pictures that nobody else has; ten a second."""
    rng = np.random.default_rng(number)
    pictures = {
        "captured": START + number / 10,
        "image": rng.integers(0, 256, shape, np.uint8),
        "tensor": rng.integers(0, 256, (1, 8, 8, 3), np.uint8),
    }
    return observed(number, verdict, **(pictures | {"result": result(logits=(number % 256, 2, 3, 4))} | changed))


def run(sink: Recorder, verdicts: str, **changed: Any) -> None:
    """Send a turn a letter (p, r, i); the state is that of the turn. The disk keeps up."""
    letters = {"p": PASS, "r": REJECT, "i": INVALID}
    before = ""
    for number, letter in enumerate(verdicts, 1):
        sink.send(seen(number, letters[letter], changed=letter != before, **changed))
        sink.flush()
        before = letter


def events(place: Path) -> list[Path]:
    """The folders that are there, oldest first; each must be whole."""
    folders = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    for folder in folders:
        assert json.loads((folder / "event.json").read_text())["schema"] == SCHEMA
        with np.load(folder / "frames.npz") as frames:
            assert frames["tensors"].dtype == np.uint8
    return folders


def told(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "event.json").read_text())
    assert isinstance(record, dict)
    return record


def numbers(folder: Path) -> list[int]:
    return [moment["number"] for moment in told(folder)["moments"]]


def clip(folder: Path) -> list[np.ndarray]:
    """All pictures of an event's clip."""
    video, frames = cv2.VideoCapture(str(folder / "clip.webm")), []
    while (read := video.read())[0]:
        frames.append(read[1])
    video.release()
    return frames


def test_an_event_has_what_was_before_and_after(tmp_path: Path) -> None:
    with nothing_left():
        sink = opened(tmp_path / "events", "before=0.45&after=0.25")
        run(sink, "p" * 20 + "r" + "p" * 10)
        sink.close()
        sink.close()
    (folder,) = events(tmp_path / "events")
    assert folder.name == "20300317T174701.125Z-000021-REJECT"
    assert numbers(folder) == list(range(17, 25))
    assert sorted(os.listdir(folder)) == ["clip.webm", "event.json", "frame.jpg", "frames.npz", "overlay.jpg"]
    assert os.listdir(tmp_path / "events") == [folder.name]


def test_the_tensors_and_digests_are_those_of_the_model(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    run(sink, "ppprp")
    sink.close()
    record = told(events(tmp_path)[0])
    tensors = np.load(tmp_path / events(tmp_path)[0] / "frames.npz")["tensors"]
    assert tensors.shape == (5, 8, 8, 3)
    for moment in record["moments"]:
        expected = seen(moment["number"])
        np.testing.assert_array_equal(tensors[moment["tensor"]], expected.tensor[0])
        assert moment["outputs_sha256"] == digest(expected.result)
        assert (moment["height"], moment["width"], moment["channels"]) == (36, 64, 3)
        assert moment["timestamp"] == moment["number"]
        assert moment["time"] == as_record(expected, RUN)["time"]


def test_what_the_judge_remembered_and_its_rules_are_told(tmp_path: Path) -> None:
    empty = np.random.default_rng(5).integers(0, 256, (20, 30, 3), np.uint8)
    rules = Rules(HealthSettings(black=False), PartSettings(mode="gap", shortest=4), empty)
    sink = open_sink(f"recorder:{tmp_path}", dataclasses.replace(context(), rules=rules))
    sink.send(seen(1, PASS, memory={"of": 1}))
    sink.send(seen(2, PASS, (36, 64), part=judged(1, REJECT).part))
    sink.close()
    (folder,) = events(tmp_path)
    record = told(folder)
    assert HealthSettings(**record["rules"]["health"]) == rules.health
    assert PartSettings(**record["rules"]["parts"]) == rules.parts
    assert [moment["memory"] for moment in record["moments"]] == [{"of": 1}, None]
    assert [moment["channels"] for moment in record["moments"]] == [3, None]
    with np.load(folder / "frames.npz") as frames:
        np.testing.assert_array_equal(frames["empty"], empty)


def test_where_it_comes_from_is_told(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    run(sink, "r")
    sink.close()
    record = told(events(tmp_path)[0])
    assert record["bundle"]["name"] == MANIFEST.name
    assert re.fullmatch("[0-9a-f]{64}", record["bundle"]["manifest_sha256"])
    assert (record["engine"], record["source"]) == ("reference", "synthetic:conveyor")
    assert (record["verdict"], record["number"], record["suppressed"]) == ("REJECT", 1, 0)


def test_pictures_can_be_looked_at(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sink = opened(tmp_path)
    smooth = np.full((720, 1280, 3), (40, 90, 200), np.uint8)
    run(sink, "ppprp", image=smooth)
    sink.close()
    (folder,) = events(tmp_path)
    frame, overlay = cv2.imread(str(folder / "frame.jpg")), cv2.imread(str(folder / "overlay.jpg"))
    assert np.abs(frame.astype(int) - smooth).max() <= 3
    assert overlay.shape == frame.shape
    assert np.abs(overlay.astype(int) - smooth).max() > 100
    shown = clip(folder)
    assert (len(shown), shown[0].shape) == (5, (270, 480, 3))
    assert np.abs(shown[0].astype(int).mean(axis=(0, 1)) - (40, 90, 200)).max() < 12
    # What browsers want to see at the beginning: an EBML header of the type webm.
    head = (folder / "clip.webm").read_bytes()[:64]
    assert head.startswith(b"\x1a\x45\xdf\xa3")
    assert b"\x42\x82\x84webm" in head
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shape", [(36, 64), (36, 64, 1), (36, 64, 5), (3, 4000, 3), (35, 63, 3)])
def test_pictures_of_any_kind(tmp_path: Path, shape: tuple[int, ...]) -> None:
    sink = opened(tmp_path)
    for number in (1, 2, 3):
        sink.send(seen(number, REJECT, shape if number < 3 else (40, 40, 3), changed=number == 1))
    sink.close()
    (folder,) = events(tmp_path)
    assert len(clip(folder)) == 3
    assert cv2.imread(str(folder / "frame.jpg")) is not None


def test_the_worst_frame_is_shown_when_a_part_is_judged_later(tmp_path: Path) -> None:
    sink = opened(tmp_path, parts=True)
    scores = {2: 0.6, 3: 0.9, 4: 0.7}
    for number in range(1, 7):
        bad = REJECT if number in scores else PASS
        sink.send(seen(number, bad, result=result(score=scores.get(number, 0.1))))
    sink.send(seen(8, PASS, part=judged(8, REJECT).part))
    sink.close()
    (folder,) = events(tmp_path)
    assert (told(folder)["decided"], told(folder)["number"]) == (3, 8)
    expected = cv2.imdecode(cv2.imencode(".jpg", seen(3).image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], 1)
    np.testing.assert_array_equal(cv2.imread(str(folder / "frame.jpg")), expected)


def test_no_frame_is_an_event_without_its_picture(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    run(sink, "ppp")
    nothing = {"image": None, "tensor": None, "result": None, "findings": (BLACK,)}
    sink.send(seen(4, INVALID, changed=True, **nothing))
    sink.close()
    (folder,) = events(tmp_path)
    assert sorted(os.listdir(folder)) == ["clip.webm", "event.json", "frames.npz"]
    moments = told(folder)["moments"]
    assert [moment["tensor"] for moment in moments] == [0, 1, 2, None]
    assert (moments[3]["outputs_sha256"], moments[3]["height"]) == (None, None)
    assert moments[3]["findings"][0]["kind"] == "black"


def test_a_state_that_lasts_is_one_event_a_while(tmp_path: Path) -> None:
    sink = opened(tmp_path, "before=0&after=0&repeat=3")
    run(sink, "i" * 70)
    sink.close()
    assert [told(folder)["number"] for folder in events(tmp_path)] == [1, 31, 61]


def test_a_camera_that_stays_away_is_one_event(tmp_path: Path) -> None:
    sink = opened(tmp_path, "before=0&after=0&repeat=3")
    run(sink, "i" * 70, image=None, tensor=None, result=None)
    sink.close()
    (folder,) = tmp_path.iterdir()
    assert [file.name for file in folder.iterdir()] == ["event.json"]


def test_too_many_events_are_counted(tmp_path: Path) -> None:
    sink = opened(tmp_path, "before=0&after=0&max_per_minute=3")
    run(sink, "rp" * 10)
    for number, verdict in ((700, PASS), (701, REJECT), (702, PASS), (703, REJECT)):
        sink.send(seen(number, verdict, changed=True))
    sink.close()
    assert [(told(one)["number"], told(one)["suppressed"]) for one in events(tmp_path)] == [
        (1, 0),
        (3, 0),
        (5, 0),
        (701, 7),
        (703, 0),
    ]


def test_what_happens_meanwhile_belongs_to_the_event(tmp_path: Path) -> None:
    sink = opened(tmp_path, "before=0.25&after=0.5")
    run(sink, "pppprpri" + "p" * 10)
    sink.close()
    (folder,) = events(tmp_path)
    assert numbers(folder) == list(range(3, 11))


def test_an_event_ends_without_further_frames(tmp_path: Path) -> None:
    sink = opened(tmp_path, "after=0.05")
    sink.send(seen(1, REJECT, changed=True, captured=time.monotonic()))

    def written() -> bool:
        sink.idle()
        return bool(events(tmp_path))

    until(written)
    sink.close()


def test_memory_is_bounded(tmp_path: Path) -> None:
    one = seen(1).image.nbytes + seen(1).tensor.nbytes + RECORD_BYTES
    sink = opened(tmp_path, f"before=60&after=60&memory_mb={21 * one / 1e6}")
    run(sink, "p" * 50 + "r" + "p" * 5)
    assert numbers(events(tmp_path)[0]) == list(range(42, 52))
    sink.close()


def test_the_oldest_events_make_room_and_other_things_stay(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "frames").write_bytes(b"x" * 1_000_000)
    for half in ("rprprp", "pppppp" + "rprprp"):
        sink = opened(tmp_path, "before=0&after=0&budget_mb=0.12")
        run(sink, half)
        sink.close()
    folders = [path for path in sorted(tmp_path.iterdir()) if path.name != "precious"]
    assert (tmp_path / "precious" / "frames").stat().st_size == 1_000_000
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    assert 30_000 < size <= 120_000
    assert [told(folder)["number"] for folder in folders][-2:] == [9, 11]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_event_larger_than_the_budget_is_refused(tmp_path: Path) -> None:
    sink = opened(tmp_path, "after=0&budget_mb=0.002")
    sink.send(seen(1, REJECT, changed=True))
    with pytest.raises(SinkError, match="larger than the budget") as error:
        sink.close()
    assert error.value.lost == 1
    assert os.listdir(tmp_path) == []
    sink.close()


class SlowDisk:
    """Writes events no faster than it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.goes_on = threading.Event(), threading.Event()
        write = Event.write

        def slow(event: Event, folder: Path, origin: Origin) -> None:
            self.begun.set()
            assert self.goes_on.wait(PATIENCE)
            write(event, folder, origin)

        monkeypatch.setattr(Event, "write", slow)


def offered(outlet: Outlet, numbers: range, rejected: int) -> None:
    """Offer turns as fast as the sink takes them, or a camera would send them."""
    for number in numbers:
        until(lambda: outlet.figures().waiting < WAITING_FRAMES // 2 + WAITING + 1, "the sink")
        outlet.offer(seen(number, REJECT if number == rejected else PASS, changed=number == rejected))


def test_a_slow_disk_costs_no_frame_of_the_next_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    outlet = Outlet("recorder:", opened(tmp_path, "before=3.95&after=0.25"))
    for turn in range(WAITING + 1):
        offered(outlet, range(50 * turn + 1, 50 * turn + 51), 50 * turn + 44)
    until(lambda: outlet.figures().delivered == 150 - (WAITING + 1), "all turns but those that began events")
    assert outlet.figures().waiting == WAITING + 1
    assert disk.begun.is_set()
    assert events(tmp_path) == []
    disk.goes_on.set()
    outlet.stop()
    outlet.join(PATIENCE)
    assert (outlet.figures().delivered, outlet.figures().lost, outlet.figures().error) == (150, 0, "")
    assert [numbers(folder) for folder in events(tmp_path)] == [
        list(range(5, 48)),
        list(range(55, 98)),
        list(range(105, 148)),
    ]


def test_an_event_too_many_for_a_slow_disk_is_lost_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    outlet = Outlet("recorder:", opened(tmp_path, "before=0&after=0"))
    for number in range(1, WAITING + 3):
        outlet.offer(seen(number, REJECT, changed=True))
    until(lambda: outlet.figures().lost == 1, "a lost event")
    assert (outlet.figures().delivered, outlet.figures().waiting, outlet.figures().error) == (
        0,
        WAITING + 1,
        f"an event is lost: {WAITING + 1} before it are not written yet, the disk is too slow.",
    )
    disk.goes_on.set()
    outlet.stop()
    outlet.join(PATIENCE)
    assert (outlet.figures().delivered, outlet.figures().lost) == (WAITING + 1, 1)
    assert [told(folder)["number"] for folder in events(tmp_path)] == list(range(1, WAITING + 2))


def test_memory_is_bounded_also_while_events_wait_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    one = seen(1).image.nbytes + seen(1).tensor.nbytes + RECORD_BYTES
    sink = opened(tmp_path, f"before=60&after=60&memory_mb={21 * one / 1e6}")
    for number in range(1, 91):
        sink.send(seen(number, REJECT if number % 30 == 0 else PASS, changed=number % 30 == 0))
    assert disk.begun.wait(PATIENCE)
    disk.goes_on.set()
    sink.close()
    assert [numbers(folder) for folder in events(tmp_path)] == [list(range(21, 31)), list(range(51, 61)), [90]]


def test_a_disk_that_hangs_is_left_behind_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(_backlog, "END_SECONDS", 0.05)
    disk = SlowDisk(monkeypatch)
    with nothing_left():
        sink = opened(tmp_path, "before=0&after=0")
        for number in (1, 2):
            sink.send(seen(number, REJECT, changed=True))
        assert disk.begun.wait(PATIENCE)
        with pytest.raises(SinkError, match="not written at the end") as error:
            sink.close()
        sink.close()
        assert error.value.lost == 2
        assert events(tmp_path) == []
        with pytest.raises(SinkError, match="another process"):
            opened(tmp_path)
        disk.goes_on.set()
    assert [told(folder)["number"] for folder in events(tmp_path)] == [1]
    opened(tmp_path).close()


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with nothing_left(), pytest.raises(SinkError, match="another process"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_half_written_events_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    process = started(f"""
        from pathlib import Path
        from tests.runtime.sinks.test_recorder import REJECT, opened, seen
        sink = opened(Path({str(tmp_path)!r}), "after=0&max_per_minute=1000&budget_mb=2")
        number = 0
        while True:
            number += 1
            sink.send(seen(number, REJECT, (200, 300, 3), changed=True))
    """)
    try:
        until(lambda: len(list(tmp_path.glob("2*"))) >= 3, "three events")
        until(lambda: bool(list(tmp_path.glob(".*/clip*"))), "an event that is being written")
    finally:
        process.kill()
        process.communicate()
    whole = events(tmp_path)
    assert len(whole) >= 3
    opened(tmp_path).close()
    assert events(tmp_path) == whole
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_nothing_and_recording_goes_on(tmp_path: Path) -> None:
    """The limit on a file's size fails in the middle of a file, as a full disk does."""
    process = started(f"""
        import resource
        from pathlib import Path
        import pytest
        from edgecnn.errors import SinkError
        from tests.runtime.sinks.test_recorder import REJECT, events, opened, seen
        place = Path({str(tmp_path)!r})
        sink = opened(place, "after=0")
        sink.send(seen(1, REJECT, changed=True))
        sink.flush()
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for number in (2, 3):
            sink.send(seen(number, REJECT, changed=True))
            with pytest.raises(SinkError, match="is lost"):
                sink.flush()
        assert len(list(place.iterdir())) == 1, list(place.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        sink.send(seen(4, REJECT, changed=True))
        sink.close()
        assert [folder.name[-13:-7] for folder in events(place)] == ["000001", "000004"]
    """)
    errors = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, errors


def test_why_an_event_is_lost_is_shown_until_one_is_written(tmp_path: Path) -> None:
    """Turns that only pass by show nothing about the disk."""
    outlet = Outlet("recorder:", opened(tmp_path, "before=0&after=0&max_per_minute=1000"))
    hidden = tmp_path / f".edgecnn-{time_text(TIME + 1).replace('-', '').replace(':', '')}-000001-REJECT"
    hidden.write_text("in its way")
    outlet.offer(seen(1, REJECT, changed=True))
    until(lambda: outlet.figures().lost == 1, "the loss")
    for number in range(2, 12):
        outlet.offer(seen(number))
        until(lambda number=number: outlet.figures().delivered == number - 1, "the turn")
        assert "the event is lost: File exists" in outlet.figures().error
    outlet.offer(seen(20, REJECT, changed=True))
    until(lambda: outlet.figures().delivered == 11, "the event")
    until(lambda: not outlet.figures().error, "the cure")
    outlet.stop()
    outlet.join(PATIENCE)
    assert [told(folder)["number"] for folder in events(tmp_path)] == [20]


@pytest.mark.parametrize("address", ["recorder:", "recorder://events/a", "recorder:x?before=-1", "recorder:x?befor=1"])
def test_wrong_addresses(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError):
        open_sink(address, context())


def test_a_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be used for events"):
        opened(tmp_path / "file")


def test_names_in_their_order_are_events_in_their_order(tmp_path: Path) -> None:
    sink = opened(tmp_path, "before=0&after=0")
    for number in (9, 10, 100):
        sink.send(seen(number, REJECT, changed=True, time=TIME))
    sink.close()
    assert [told(folder)["number"] for folder in events(tmp_path)] == [9, 10, 100]
