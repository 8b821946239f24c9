"""Video files: all frames, in time, in a loop, and cut off."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import Frame, NoFrame
from tests.runtime.sources.addresses import made, next_frame, opened, rest

COUNT, RATE = 30, 25


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip of 30 frames, 25 a second; each frame's brightness says its number."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (64, 48))
    for number in range(COUNT):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()
    return tmp_path / "clip.avi"


def test_every_frame_once_in_order(clip: Path) -> None:
    frames = rest(opened(str(clip)))

    assert [round(frame.image.mean() / 8) for frame in frames] == list(range(COUNT))
    assert [frame.name for frame in frames[:2]] == ["clip.avi#1", "clip.avi#2"]
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(COUNT) / RATE, atol=1e-3)


def test_it_can_be_read_again(clip: Path) -> None:
    source = opened(f"video:{clip}")
    first = len(rest(source))
    source.close()
    source.open()

    assert (first, len(rest(source))) == (COUNT, COUNT)


def test_a_loop_goes_on_and_time_with_it(clip: Path) -> None:
    source = opened(f"video:{clip}?loop=1")
    read = [source.read() for _ in range(3 * COUNT)]
    frames = [frame for frame in read if isinstance(frame, Frame)]
    times = np.array([frame.timestamp for frame in frames])

    assert len(frames) == 3 * COUNT - 2
    assert all(frame.reason == "" for frame in read if isinstance(frame, NoFrame))
    assert np.diff(times).min() > 0
    np.testing.assert_allclose(np.diff(times), 1 / RATE, atol=2e-3)


def test_pace_is_the_video_s_own(clip: Path) -> None:
    source = opened(f"video:{clip}?pace=1")
    started = time.monotonic()
    for _ in range(11):
        next_frame(source)

    assert time.monotonic() - started >= 10 / RATE - 0.01


@pytest.mark.data
def test_a_real_video_is_whole(data_dir: Path) -> None:
    frames = 0
    source = opened(str(data_dir / "video" / "road-solidWhiteRight.mp4"))
    while (frame := source.read()) is not None:
        assert isinstance(frame, Frame)
        frames += 1

    assert frames == 221


@pytest.mark.data
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_cut_off_video_gives_what_is_there_and_says_so(data_dir: Path, tmp_path: Path, name: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    whole = data_dir / "video" / "conveyor-bottles.mp4"
    target = tmp_path / name
    command = ["ffmpeg", "-v", "error", "-i", whole, "-frames:v", "300", "-an", "-c:v", "copy"]
    subprocess.run([*command, "-movflags", "faststart", target], check=True)
    complete = len(rest(opened(str(target))))
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
    frames = rest(opened(str(target)))

    assert complete == 300
    assert 20 < len(frames) < 290
    assert all(isinstance(frame, Frame) for frame in frames[:-1])
    assert isinstance(frames[-1], NoFrame)
    assert f"ends after {len(frames) - 1} of 30" in frames[-1].reason


@pytest.mark.data
def test_a_video_without_its_index_is_refused(data_dir: Path, tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    cut = tmp_path / "cut.mp4"
    whole = data_dir / "video" / "conveyor-bottles.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-frames:v", "99", "-c:v", "copy", cut], check=True)
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="no video that FFmpeg can read"):
        made(str(cut)).open()


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a video")
    with pytest.raises(SourceError, match=r"notes\.txt: no video"):
        made(str(tmp_path / "notes.txt")).open()
    with pytest.raises(SourceError, match="no such file"):
        made(f"video:{tmp_path}/gone.mp4").open()
    with pytest.raises(OptionError, match="Did you mean 'loop'"):
        made("video:x.mp4?lop=1")
    with pytest.raises(SourceError, match="not open"):
        made("video:x.mp4").read()
