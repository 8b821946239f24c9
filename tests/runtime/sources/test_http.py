"""HTTP cameras: a real server on loopback, and what goes wrong with them."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Iterator

import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import READ_SECONDS, NoFrame, http
from tests.runtime.sources.addresses import made, next_frame, opened, read_on, read_until
from tests.servers.mjpeg import MjpegServer, counting_frame
from tests.servers.proxy import Proxy


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        yield running


@pytest.mark.parametrize("lengths", [True, False], ids=["content-length", "no-length"])
@pytest.mark.parametrize("mode", ["ok", "garbage"])
def test_every_frame_is_a_picture_and_they_go_on(server: MjpegServer, mode: str, lengths: bool) -> None:
    server.mode, server.lengths = mode, lengths
    source = opened(server.url)
    frames = [next_frame(source) for _ in range(8)]
    source.close()

    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    assert len({int(frame.image.mean()) for frame in frames}) >= 5
    assert frames[0].image.flags.writeable


def test_the_newest_frame_is_given_after_a_pause(server: MjpegServer) -> None:
    source = opened(server.url)
    next_frame(source)
    time.sleep(0.3)
    sent = []
    server.frame = lambda number: sent.append(number) or counting_frame(number, server.size)
    time.sleep(0.1)
    level = next_frame(source).image.mean()
    source.close()

    # 15 to 20 frames were waiting: the one given is among the last that were sent.
    newest = [abs(level - counting_frame(number).mean()) < 2 for number in sent]
    assert any(newest)


def test_what_waited_behind_a_stall_is_passed_over(server: MjpegServer) -> None:
    sent: list[int] = []
    server.fps = 25.0
    server.frame = lambda number: sent.append(number) or np.full((240, 320, 3), 3 * number, np.uint8)
    with Proxy(server.port) as cable:
        source = opened(server.url.replace(f":{server.port}", f":{cable.port}"))
        next_frame(source)
        cable.mode = "stall"
        time.sleep(1.2)
        stalled = sent[-1]
        cable.mode = "ok"
        shown = next_frame(source).image.mean() / 3
        source.close()

    # Some 30 frames waited in the cable.
    assert stalled > 20
    assert shown > stalled - 4


def test_a_change_of_resolution(server: MjpegServer) -> None:
    source = opened(server.url)
    next_frame(source)
    server.size = (200, 100)
    frame = read_until(source, lambda frame: frame.image.shape == (100, 200, 3))
    source.close()

    assert frame.image.std() < 1


def test_damaged_pictures_are_no_frames_and_reading_goes_on(server: MjpegServer) -> None:
    server.mode = "damaged"
    source = opened(server.url)
    damaged = source.read()
    server.mode = "ok"
    frame = read_until(source, lambda frame: frame.image.shape == (240, 320, 3))
    source.close()

    assert isinstance(damaged, NoFrame)
    assert "cut off" in damaged.reason
    assert frame.image.std() < 1


@pytest.mark.parametrize("seconds", [0.8, pytest.param(READ_SECONDS, marks=pytest.mark.slow)])
def test_a_frozen_stream_is_lost_in_time(server: MjpegServer, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_SECONDS", seconds)
    source = opened(server.url)
    next_frame(source)
    server.mode = "freeze"
    started = time.monotonic()
    with pytest.raises(SourceError, match="nothing came in time"):
        read_on(source)
    source.close()

    assert time.monotonic() - started < seconds + 1


def test_a_picture_that_never_ends_is_refused(server: MjpegServer) -> None:
    source = opened(server.url)
    next_frame(source)
    server.mode, server.fps = "endless", 200.0
    with pytest.raises(SourceError, match="up to 32 MiB"):
        read_on(source)
    source.close()


def test_bytes_one_by_one_do_not_stretch_the_time(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_SECONDS", 0.5)
    server.mode = "trickle"
    source = opened(server.url)
    started = time.monotonic()
    with pytest.raises(SourceError, match="nothing came in time"):
        source.read()
    source.close()

    assert 0.4 < time.monotonic() - started < 1.5


def test_noise_alone_is_no_picture(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_SECONDS", 0.5)
    server.mode = "noise"
    source = opened(server.url)
    with pytest.raises(SourceError, match="nothing came in time"):
        source.read()
    source.close()


def test_a_server_that_dies_and_comes_back() -> None:
    with MjpegServer() as first:
        source = opened(first.url)
        next_frame(source)
    with pytest.raises(SourceError, match=r"ended the stream|broke off"):
        read_on(source)
    source.close()
    with pytest.raises(SourceError, match="Connection refused"):
        source.open()
    with MjpegServer(first.port):
        source.open()
        assert next_frame(source).image.shape == (240, 320, 3)
        source.close()
        source.close()


def test_an_open_on_a_silent_server_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = made(f"http://127.0.0.1:{silent.getsockname()[1]}/video.mjpg")
        started = time.monotonic()
        with pytest.raises(SourceError, match="nothing came in time"):
            source.open()

        assert time.monotonic() - started < 1.5


def test_snapshots_are_fetched_again(server: MjpegServer) -> None:
    source = opened(server.url_of("/snapshot.jpg?quality=9"))
    started = time.monotonic()
    frames = [next_frame(source).image for _ in range(3)]
    elapsed = time.monotonic() - started
    source.close()

    assert [round(frame.mean()) for frame in frames] == [30, 40, 50]
    assert elapsed > 1.9 * http.SNAPSHOT_SECONDS
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "p@ss:w/rd?")
    with MjpegServer(user="line:p@ss:w/rd?") as server:
        address = f"http://line:${{CAMERA_PASSWORD}}@127.0.0.1:{server.port}/video.mjpg?token=hidden"
        source = opened(address)
        assert next_frame(source).image.shape == (240, 320, 3)
        source.close()
        monkeypatch.setenv("CAMERA_PASSWORD", "wrong-secret")
        with pytest.raises(SourceError, match=r"401 Unauthorized\. Give its user") as raised:
            made(address).open()

    told = "".join(traceback.format_exception(raised.value))
    assert "wrong-secret" not in told
    assert "hidden" not in told


@pytest.mark.parametrize(("path", "said"), [("/nothing", "404"), ("/page.html", "404")])
def test_a_wrong_path(server: MjpegServer, path: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        made(server.url_of(path)).open()


def test_an_address_without_a_host() -> None:
    with pytest.raises(OptionError, match="expected a host"):
        made("http:video.mjpg")


def test_grey_pictures(server: MjpegServer) -> None:
    server.frame = lambda _: np.full((10, 20), 99, np.uint8)
    source = opened(server.url)

    assert next_frame(source).image.shape == (10, 20)
    source.close()
