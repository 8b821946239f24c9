from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.outlets import Outlet
from edgecnn.runtime.sinks import open_sink, video
from edgecnn.runtime.sinks.video import VideoSink
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.observations import context, nothing_left
from tests.waiting import PATIENCE, until


def turn(number: int, timestamp: float, size: tuple[int, int] = (90, 120), level: int = 100) -> Observation:
    image = np.full((*size, 3), level, np.uint8)
    return Observation(number, Verdict.PASS, Verdict.PASS, False, timestamp, 0.0, timestamp, 0.0, image=image)


def opened(path: Path, options: str = "fps=10", waits: bool = False) -> VideoSink:
    sink = open_sink(f"video:{path}?{options}", replace(context(), waits=waits))
    assert isinstance(sink, VideoSink)
    return sink


def pictures(path: Path) -> list[np.ndarray]:
    video, found = cv2.VideoCapture(str(path)), []
    while True:
        read, picture = video.read()
        if not read:
            return found
        found.append(picture)


@pytest.mark.parametrize("name", ["seen.mp4", "seen.webm", "seen.avi"])
def test_it_plays_in_real_time(tmp_path: Path, name: str) -> None:
    sink = opened(tmp_path / name)
    for number in range(60):
        sink.send(turn(number, number / 30))
    assert not (tmp_path / name).exists()
    sink.close()
    sink.close()

    seen = pictures(tmp_path / name)
    assert [picture.shape for picture in seen] == [(90, 120, 3)] * 20
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pauses_and_clocks_that_jump(tmp_path: Path) -> None:
    sink = opened(tmp_path / "seen.avi")
    for number, timestamp in enumerate([0.0, 0.5, 100.0, 100.1, 3.0, 3.1]):
        sink.send(turn(number, timestamp))
    sink.close()

    # 1 + half a second + a second of the long pause + 1 + 1 behind the jump back + 1
    assert len(pictures(tmp_path / "seen.avi")) == 1 + 5 + 10 + 1 + 1 + 1


def test_frames_are_brought_to_the_size_of_the_first(tmp_path: Path) -> None:
    sink = opened(tmp_path / "seen.avi", "fps=10&width=64")
    sink.send(turn(1, 0.0, (91, 130)))
    sink.send(turn(2, 0.1, (300, 200)))
    sink.close()

    assert [picture.shape for picture in pictures(tmp_path / "seen.avi")] == [(44, 64, 3)] * 2


def noisy(number: int) -> Observation:
    """A turn whose picture takes room."""
    found = turn(number, number / 10, (480, 640))
    assert found.image is not None
    found.image[:] = np.random.default_rng(number).integers(0, 256, found.image.shape, np.uint8)
    return found


def test_the_next_video_begins_at_the_largest_size_and_the_oldest_goes(tmp_path: Path) -> None:
    sink, confirmed = opened(tmp_path / "seen.avi", "fps=10&max_mb=1&keep=3"), []
    sink.confirm = confirmed.append
    for number in range(60):
        sink.send(noisy(number))
    before = len(confirmed)
    sink.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["seen.1.avi", "seen.2.avi", "seen.avi"]
    assert all((tmp_path / name).stat().st_size < 4 << 20 for name in ("seen.1.avi", "seen.2.avi", "seen.avi"))
    assert 0 < before < 60 == len(confirmed)


def test_a_restart_overwrites_nothing(tmp_path: Path) -> None:
    for number in range(1, 4):
        sink = opened(tmp_path / "seen.avi", "fps=10&keep=2")
        for step in range(number):
            sink.send(turn(step, step / 10))
        sink.close()

    assert [len(pictures(tmp_path / name)) for name in ("seen.avi", "seen.1.avi")] == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_without_pictures_leaves_older_videos_alone(tmp_path: Path) -> None:
    (tmp_path / "seen.avi").write_bytes(b"older")
    with nothing_left():
        opened(tmp_path / "seen.avi").close()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("seen.avi", b"older")]


@pytest.mark.parametrize(("step", "options", "rate"), [(1 / 25, "", 25), (0.0, "", 15), (1 / 25, "fps=10", 10)])
def test_of_a_file_every_frame_is_there_at_its_own_rate(tmp_path: Path, step: float, options: str, rate: float) -> None:
    sink, now = opened(tmp_path / "seen.avi", options, waits=True), time.monotonic()
    for number in range(50):
        # Without a clock of its own, a frame's time is that of its reading.
        stamps = {"timestamp": number * step} if step else {"captured": now + number**2, "timestamp": now + number**2}
        sink.send(replace(turn(number, 0.0, level=5 * number), **stamps))
    sink.close()

    seen = pictures(tmp_path / "seen.avi")
    assert [round(picture[70:85, 20:100].mean() / 5) for picture in seen] == list(range(50))
    assert cv2.VideoCapture(str(tmp_path / "seen.avi")).get(cv2.CAP_PROP_FPS) == pytest.approx(rate)


def test_a_single_picture_of_a_folder_is_a_video(tmp_path: Path) -> None:
    sink = opened(tmp_path / "seen.avi", "", waits=True)
    sink.send(turn(1, 0.0))
    sink.close()
    assert len(pictures(tmp_path / "seen.avi")) == 1


def test_a_disk_that_is_nearly_full_ends_the_video_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1 << 40
    monkeypatch.setattr(video, "free_bytes", lambda folder: free)
    outlet = Outlet("video:", opened(tmp_path / "seen.avi"))
    for number in range(10):
        outlet.offer(turn(number, number / 10))
    until(lambda: outlet._queue.empty(), "the first turns")
    assert outlet.figures().delivered == 0
    free = 1000
    outlet.offer(turn(10, 1.0))
    until(lambda: outlet.figures().lost == 1, "the loss")
    assert (outlet.figures().delivered, outlet.figures().waiting) == (10, 0)
    assert "less than 16 MB are free" in outlet.figures().error
    free = 1 << 40
    outlet.offer(turn(11, 1.1))
    outlet.stop()
    outlet.join(PATIENCE)
    assert [len(pictures(tmp_path / name)) for name in ("seen.1.avi", "seen.avi")] == [10, 1]
    assert (outlet.figures().delivered, outlet.figures().lost, outlet.figures().error) == (11, 1, "")


def test_two_writers_are_refused(tmp_path: Path) -> None:
    first = opened(tmp_path / "seen.avi")
    with nothing_left(), pytest.raises(SinkError, match=r"seen\.avi: cannot be written: another process writes it"):
        opened(tmp_path / "seen.avi")
    first.send(turn(1, 0.0))
    first.close()
    assert len(pictures(tmp_path / "seen.avi")) == 1


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("video:seen.mov", OptionError, r"a video ends in one of \.webm, \.mp4, \.avi"),
        ("video:/dev/null/folder/seen.mp4", SinkError, "/dev/null/folder: the folder cannot be made: Not a directory"),
        ("video:seen.mp4?fps=0", OptionError, r"fps must be a number in 1 \.\. 240, got '0'"),
    ],
)
def test_what_is_refused(address: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        open_sink(address, context())
