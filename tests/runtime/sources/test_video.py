"""Video files: all frames, in time, in a loop, and cut off."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import Frame, NoFrame, video
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


MOVING = "color=gray:s=160x120:r=50,geq=lum='if(lt(mod(X+8*N,64),32),200,60)':cb=128:cr=128"


def made_by_ffmpeg(target: Path, *options: str, drawn: str = MOVING) -> Path:
    """Draw a second of video; its vertical stripes move by 16 pixels a frame."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", drawn, "-t", "1", *options, target], check=True)
    return target


def combed(image: np.ndarray) -> float:
    """How much two neighbouring rows differ: not at all, where stripes are vertical."""
    return float(np.abs(np.diff(image.astype(np.int16), axis=0)).mean())


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("h264.mp4", ["-c:v", "libx264", "-x264opts", "tff=1"]),
        ("h264.mkv", ["-c:v", "libx264", "-x264opts", "bff=1"]),
        ("mpeg2.ts", ["-c:v", "mpeg2video", "-q:v", "2"]),
    ],
)
def test_interlaced_video_is_deinterlaced(tmp_path: Path, name: str, coding: list[str]) -> None:
    pytest.importorskip("av")
    weaving = ["-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p"]
    frames = rest(opened(str(made_by_ffmpeg(tmp_path / name, *weaving, *coding))))

    assert len(frames) == 25
    assert all(isinstance(frame, Frame) for frame in frames)
    # Woven fields differ by some 35 grey levels, and what OpenCV makes of them is black.
    assert max(combed(frame.image) for frame in frames) < 12
    assert min(frame.image.mean() for frame in frames) > 100
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(25) / RATE, atol=1e-3)


def test_without_pyav_interlaced_video_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    options = ["-flags", "+ilme+ildct", "-c:v", "libx264", "-x264opts", "tff=1", "-pix_fmt", "yuv420p", "-r", "25"]
    frames = rest(opened(str(made_by_ffmpeg(tmp_path / "a.mp4", *options))))
    still = "color=gray:s=64x48:r=25,fade=in:5:10:color=red"
    drawn = rest(opened(str(made_by_ffmpeg(tmp_path / "b.mp4", drawn=still))))

    assert len(frames) > 20
    assert all(isinstance(frame, NoFrame) and "deinterlace the file" in frame.reason for frame in frames)
    assert isinstance(drawn[0], NoFrame)
    assert [isinstance(frame, Frame) for frame in drawn[-10:]] == [True] * 10


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_video_is_turned_as_its_metadata_says(
    tmp_path: Path, degrees: int, is_interlaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    corner = "color=gray:s=64x48:r=25,drawbox=0:0:16:12:white:fill"
    lying = made_by_ffmpeg(tmp_path / "lying.mp4", "-pix_fmt", "yuv420p", drawn=corner)
    standing = tmp_path / "standing.mp4"
    turn = ["-c", "copy", "-metadata:s:v", f"rotate={degrees}"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", lying, *turn, standing], check=True)
    if is_interlaced:
        pytest.importorskip("av")
        monkeypatch.setattr(video, "is_interlaced", lambda path: True)
    # What ffmpeg itself shows.
    subprocess.run(["ffmpeg", "-v", "error", "-i", standing, "-frames:v", "1", tmp_path / "shown.png"], check=True)
    expected = cv2.imread(str(tmp_path / "shown.png"))
    turned = next_frame(opened(str(standing))).image

    assert turned.shape == ((48, 64, 3) if degrees == 180 else (64, 48, 3)) == expected.shape
    assert np.abs(turned.astype(int) - expected).max() < 8


def test_opencv_is_told_to_turn_pictures(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[float, float]] = []

    class Told:
        def __init__(self, *arguments: Any) -> None:
            self._real = real(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def set(self, name: int, value: float) -> bool:
            said.append((name, value))
            return bool(self._real.set(name, value))

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Told)
    next_frame(opened(str(clip)))

    assert said == [(cv2.CAP_PROP_ORIENTATION_AUTO, 1)]


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
