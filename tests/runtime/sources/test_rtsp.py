"""RTSP cameras: a real server process on loopback that is killed, frozen, and started again."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import OPEN_SECONDS, READ_SECONDS, Frame, NoFrame, Source, rtsp
from tests.end_to_end.loop.watch import ball_flaw
from tests.runtime.sources.addresses import made, next_frame, opened, read_on, read_until
from tests.runtime.sources.test_video import combed, made_by_ffmpeg
from tests.servers.proxy import Proxy
from tests.servers.rtsp import RtspServer, byte_stream, require_rtsp

av = pytest.importorskip("av")


@pytest.fixture
def server() -> Iterator[RtspServer]:
    require_rtsp()
    with RtspServer() as running:
        yield running


def test_killed_changed_and_started_again(server: RtspServer) -> None:
    source = opened(server.url)
    frames = [next_frame(source).image for _ in range(5)]
    server.kill()
    with pytest.raises(SourceError, match=r"ended the stream|broke off"):
        read_on(source)
    source.close()
    with pytest.raises(SourceError, match="Connection refused"):
        source.open()
    server.size = (400, 304)
    server.start()
    source.open()
    changed = next_frame(source).image
    source.close()
    source.close()

    assert {frame.shape for frame in frames} == {(240, 320, 3)}
    assert any(not np.array_equal(frames[0], frame) for frame in frames[1:])
    assert changed.shape == (304, 400, 3)


@pytest.mark.parametrize("seconds", [0.8, pytest.param(None, marks=pytest.mark.slow)])
def test_a_frozen_server_is_noticed_and_taken_up_again(
    server: RtspServer, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seconds:
        monkeypatch.setattr(rtsp, "READ_SECONDS", seconds)
        monkeypatch.setattr(rtsp, "OPEN_SECONDS", seconds)
    limits, real = [], av.open

    def opening(*arguments: Any, **named: Any) -> Any:
        limits.append(named["timeout"])
        return real(*arguments, **named)

    monkeypatch.setattr(av, "open", opening)
    source = opened(server.url)
    next_frame(source)
    server.freeze()
    with pytest.raises(SourceError, match=f"no picture within {seconds or 3:g} s"):
        read_on(source)
    source.close()
    with pytest.raises(SourceError, match=f"no answer within {seconds or 2:g} s"):
        source.open()
    server.thaw()
    monkeypatch.undo()
    source.open()
    frame = next_frame(source)
    source.close()

    # The server hung all the while: it was FFmpeg's own limit that ended each wait.
    assert limits == [(seconds or OPEN_SECONDS, seconds or READ_SECONDS)] * 2
    assert frame.image.shape == (240, 320, 3)


def test_frames_that_waited_are_passed_over(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    is_old = rtsp._Backlog.is_old

    def noted(backlog: rtsp._Backlog, stamp: float, waiting: float) -> bool:
        old = is_old(backlog, stamp, waiting)
        given.extend([] if old else [stamp])
        return old

    monkeypatch.setattr(rtsp._Backlog, "is_old", noted)
    source = opened(server.url)
    for _ in range(25):
        next_frame(source)
    before = len(given)
    time.sleep(1.5)
    next_frame(source)
    source.close()

    # Some 37 frames were waiting. The one given is, by the camera's clock, as much later as nobody read, but for what
    # counts as new.
    assert given[before] - given[before - 1] > 1.5 - rtsp.OLD_SECONDS - 0.01


@pytest.mark.data
def test_a_real_video_in_the_right_colours(data_dir: Path, tmp_path: Path) -> None:
    require_rtsp()
    clip = data_dir / "video" / "road-solidWhiteRight.mp4"
    with RtspServer(byte_stream(clip, tmp_path / "road.h264", 30)) as server:
        source = opened(server.url)
        frame = read_until(source, lambda frame: frame.image.shape == (540, 960, 3)).image
        source.close()
    expected = next_frame(opened(str(clip))).image

    assert np.abs(frame.mean((0, 1)) - expected.mean((0, 1))).max() < 6


def test_an_interlaced_stream_is_deinterlaced(tmp_path: Path) -> None:
    require_rtsp()
    weaving = ["-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p"]
    coding = ["-c:v", "libx264", "-tune", "zerolatency", "-x264opts", "tff=1:sliced-threads=0", "-g", "5", "-f", "h264"]
    stream = made_by_ffmpeg(tmp_path / "woven.h264", *weaving, *coding)
    with RtspServer(stream, fps=25) as server:
        source = opened(server.url)
        images = [next_frame(source).image for _ in range(5)]
        source.close()

    assert max(map(combed, images)) < 12
    assert min(image.mean() for image in images) > 100


def test_a_camera_that_sends_over_udp_alone_is_refused_with_advice() -> None:
    require_rtsp()
    with RtspServer(only_udp=True) as server, pytest.raises(SourceError) as raised:
        made(server.url).open()

    assert "does not send over TCP. UDP is not taken: a lost packet" in str(raised.value)
    assert "Allow TCP (interleaved)" in str(raised.value)


def test_secrets_are_used_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "very-secret")
    with pytest.raises(SourceError) as raised:
        made("rtsp://line:${CAMERA_PASSWORD}@127.0.0.1:9/camera?token=${CAMERA_PASSWORD}").open()

    told = "".join(traceback.format_exception(raised.value))
    assert "very-secret" not in told
    assert "rtsp://***@127.0.0.1:9/camera" in told


@pytest.mark.parametrize("user", ["line:p%40ss%3Aw%2Frd%25", "line:p@ss:w%2Frd%25", "line:${CAMERA_PASSWORD}"])
def test_user_and_password_as_a_url_writes_them(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_rtsp()
    monkeypatch.setenv("CAMERA_PASSWORD", "p@ss:w/rd%")
    with RtspServer(user="line:p@ss:w/rd%") as server:
        source = opened(server.url.replace("//", f"//{user}@"))
        assert next_frame(source).image.shape == (240, 320, 3)
        source.close()
        with pytest.raises(SourceError, match=r"401|nauthorized"):
            made(server.url.replace("//", "//line:wrong@")).open()


def test_an_address_without_a_host() -> None:
    with pytest.raises(OptionError, match="expected a host"):
        made("rtsp:camera")


def test_reading_before_opening() -> None:
    with pytest.raises(SourceError, match="not open"):
        made("rtsp://127.0.0.1:9/camera").read()


def test_a_camera_whose_clock_stands_still_gives_every_frame() -> None:
    backlog = rtsp._Backlog()
    late = []
    for _ in range(12):
        late.append(backlog.is_old(0.0, 0.0))
        time.sleep(rtsp.OLD_SECONDS / 8)

    assert late == [False] * 12


def test_pictures_that_were_damaged_on_their_way_are_no_frames(server: RtspServer) -> None:
    with Proxy(server.port) as cable:
        source = opened(f"rtsp://127.0.0.1:{cable.port}/camera")
        next_frame(source)
        cable.mode = "garbage"
        reasons = [next_reason(source) for _ in range(3)]
        cable.mode = "ok"
        source.close()
        source.open()
        whole = next_frame(source).image
        source.close()

    assert ball_flaw(whole) == ""
    assert all("the stream is damaged" in reason for reason in reasons)


def next_reason(source: Source) -> str:
    """Read until a frame cannot be used; what breaks the connection is opened again."""
    while True:
        try:
            found = source.read()
        except SourceError:
            source.close()
            source.open()
            continue
        if isinstance(found, NoFrame):
            return found.reason
        assert isinstance(found, Frame)
        assert ball_flaw(found.image) == ""
