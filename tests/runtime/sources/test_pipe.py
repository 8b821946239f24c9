"""Frames out of pipes."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import READ_SECONDS, Frame, NoFrame, pipe
from tests.runtime.sources.addresses import made, next_frame, opened, read_until, rest
from tests.waiting import PATIENCE


def jpeg(level: int, size: int = 64) -> bytes:
    return cv2.imencode(".jpg", np.full((size, size, 3), level, np.uint8))[1].tobytes()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "frames")
    return tmp_path / "frames"


def write(fifo: Path, data: bytes, pieces: int = 1) -> threading.Thread:
    """Write to a pipe in a thread, in several pieces."""

    def run() -> None:
        with fifo.open("wb", buffering=0) as end:
            for start in range(0, len(data), max(1, len(data) // pieces)):
                end.write(data[start : start + max(1, len(data) // pieces)])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_pictures_whatever_lies_between_them(fifo: Path) -> None:
    source = opened(str(fifo))
    writer = write(fifo, b"noise\xff\xd8" + jpeg(50) + b"\x00\xff" + jpeg(100) + jpeg(200), 97)
    frames = rest(source)
    writer.join()

    assert [round(frame.image.mean()) for frame in frames] == [50, 100, 200]


@pytest.mark.parametrize("cut_at", [0.3, 0.6, 0.95], ids=["tables", "head", "pixels"])
def test_damage_is_told_and_passed(fifo: Path, cut_at: float) -> None:
    source = opened(str(fifo))
    first = jpeg(50)
    writer = write(fifo, first[: int(cut_at * len(first))] + jpeg(100) + jpeg(200)[:300])
    damaged, whole, cut = rest(source)
    writer.join()

    assert isinstance(damaged, NoFrame)
    assert "cut off" in damaged.reason
    assert isinstance(whole, Frame)
    assert round(whole.image.mean()) == 100
    assert cut == NoFrame(f"{fifo}: ended 300 bytes into a frame.")


def test_a_silent_writer_is_waited_for(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def selected(*waiting: object) -> object:
        waited.append(waiting[-1])
        return select.select(*waiting)

    monkeypatch.setattr(pipe, "select", SimpleNamespace(select=selected))
    source = opened(str(fifo))
    assert source.read() == NoFrame()
    assert 0 < sum(waited) < READ_SECONDS
    write(fifo, jpeg(80)).join()

    assert round(next_frame(source).image.mean()) == 80
    assert source.read() is None
    source.close()
    source.close()


def test_raw_frames(fifo: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    source = opened(f"pipe:{fifo}?raw=6x4")
    writer = write(fifo, pixels.tobytes() + b"123", 5)
    *frames, cut = rest(source)
    writer.join()

    np.testing.assert_array_equal([frame.image for frame in frames], pixels)
    assert frames[0].image.flags.writeable
    assert cut == NoFrame(f"{fifo}: ended 3 bytes into a frame.")


def test_standard_input() -> None:
    code = (
        "from tests.runtime.sources.addresses import opened, rest\n"
        "source = opened('-'); first = source.read(); source.close(); source.open()\n"
        "print([round(frame.image.mean()) for frame in [first, *rest(source)]])"
    )
    data = b"".join(map(jpeg, (50, 100, 150)))
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, env=environment())

    assert done.stdout.decode().strip() == "[50, 100, 150]"


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


@pytest.mark.data
def test_ffmpeg_writes_what_we_read(data_dir: Path, fifo: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    video = data_dir / "video" / "conveyor-bottles.mp4"
    source = opened(str(fifo))
    command = ["ffmpeg", "-v", "error", "-y", "-i", video, "-frames:v", "40", "-f", "image2pipe", "-c:v", "mjpeg", fifo]
    with subprocess.Popen(command) as writer:
        first = read_until(source, lambda _: True)
        frames = [first, *rest(source)]
        writer.wait(PATIENCE)

    assert [frame.image.shape for frame in frames] == [(360, 640, 3)] * 40


def test_what_is_no_pipe(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="mkfifo"):
        made(f"pipe:{tmp_path}/gone").open()
    with pytest.raises(SourceError, match="a folder"):
        made(f"pipe:{tmp_path}").open()
    with pytest.raises(OptionError, match="raw is width x height"):
        made("pipe:-?raw=640")
