from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.sinks import Sink, open_sink
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.observations import context


def turn(number: int, timestamp: float, size: tuple[int, int] = (90, 120), level: int = 100) -> Observation:
    image = np.full((*size, 3), level, np.uint8)
    return Observation(number, Verdict.PASS, Verdict.PASS, False, timestamp, 0.0, timestamp, 0.0, image=image)


def opened(path: Path, options: str = "fps=10") -> Sink:
    return open_sink(f"video:{path}?{options}", context())


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


def test_it_ends_at_its_largest_size(tmp_path: Path) -> None:
    sink, rng = opened(tmp_path / "seen.avi", "fps=10&max_mb=1"), np.random.default_rng(0)
    for number in range(60):
        observation = turn(number, number / 10, (480, 640))
        observation.image[:] = rng.integers(0, 256, observation.image.shape, np.uint8)
        sink.send(observation)
    sink.close()

    assert 1 << 20 < (tmp_path / "seen.avi").stat().st_size < 4 << 20
    assert 0 < len(pictures(tmp_path / "seen.avi")) < 60


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
