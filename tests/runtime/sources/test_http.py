"""HTTP cameras: a real server on loopback, and what goes wrong with them."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.address import safe_text
from edgecnn.runtime.sources import READ_SECONDS, NoFrame, http
from tests.clock import Clock
from tests.runtime.sources.addresses import made, next_frame, opened, read_on, read_until
from tests.servers.certificates import self_signed
from tests.servers.mjpeg import MjpegServer, counting_frame
from tests.servers.proxy import Proxy
from tests.waiting import PATIENCE, until


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each step of sources may wait for the server."""
    found: list[float] = []
    left = http._left

    def noted(deadline: float) -> float:
        found.append(left(deadline))
        return found[-1]

    monkeypatch.setattr(http, "_left", noted)
    return found


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
    sent: list[int] = []
    server.frame = lambda number: sent.append(number) or counting_frame(number, server.size)
    source = opened(server.url)
    next_frame(source)
    count = len(sent) + 17
    until(lambda: len(sent) >= count, "frames that wait")
    level = next_frame(source).image.mean()
    source.close()

    # The frame before the last that was drawn was on its way already, and nothing older may be given.
    newest = [abs(level - counting_frame(number).mean()) < 2 for number in sent[count - 2 :]]
    assert any(newest)


def test_what_waited_behind_a_stall_is_passed_over(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # What waited in the cable comes as quickly as this machine lets it: pauses are longer on a busy one.
    monkeypatch.setattr(http, "_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(http, "_SETTLE_SECONDS", PATIENCE)
    last, ended = 40, threading.Event()
    sent: list[int] = []

    def drawn(number: int) -> np.ndarray:
        sent.append(number)
        if number > last:
            ended.wait(PATIENCE)
        return np.full((240, 320, 3), 3 * number, np.uint8)

    server.fps, server.frame = 25.0, drawn
    with Proxy(server.port) as cable:
        source = opened(server.url.replace(f":{server.port}", f":{cable.port}"))
        next_frame(source)
        cable.mode = "stall"
        stalled = sent[-1]
        until(lambda: sent[-1] > last, "frames that wait in the cable")
        cable.mode = "ok"
        shown = next_frame(source).image.mean() / 3
        ended.set()
        source.close()

    assert stalled < last - 20
    assert round(shown) == last


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
def test_a_frozen_stream_is_lost_in_time(
    server: MjpegServer, seconds: float, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "READ_SECONDS", seconds)
    source = opened(server.url)
    next_frame(source)
    server.mode = "freeze"
    with pytest.raises(SourceError, match="nothing came in time"):
        read_on(source)
    source.close()

    # The first wait that nothing ends is the last.
    assert seconds / 2 < waits[-1] <= seconds


def test_a_picture_that_never_ends_is_refused(server: MjpegServer) -> None:
    source = opened(server.url)
    next_frame(source)
    server.mode, server.fps = "endless", 200.0
    with pytest.raises(SourceError, match="up to 32 MiB"):
        read_on(source)
    source.close()


def test_bytes_one_by_one_do_not_stretch_the_time(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Passing(Clock):
        """A clock that goes on whenever somebody looks."""

        def monotonic(self) -> float:
            self.now += 0.02
            return self.now

    clock = Passing()
    server.mode = "trickle"
    source = opened(server.url)
    monkeypatch.setattr(http, "time", clock)
    started = clock()
    with pytest.raises(SourceError, match="nothing came in time"):
        source.read()
    source.close()

    assert clock() - started == pytest.approx(READ_SECONDS, abs=0.1)


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


def test_an_open_on_a_silent_server_gives_up(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = made(f"http://127.0.0.1:{silent.getsockname()[1]}/video.mjpg")
        with pytest.raises(SourceError, match="nothing came in time"):
            source.open()

        # To connect, and for the answer.
        assert len(waits) == 2
        assert 0 < waits[1] <= waits[0] <= 0.5


def test_snapshots_are_fetched_again(server: MjpegServer) -> None:
    started = time.monotonic()
    source = opened(server.url_of("/snapshot.jpg?quality=9"))
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
        with pytest.raises(SourceError, match=r"401 Unauthorized\. It does not take this user") as raised:
            made(address).open()

    told = "".join(traceback.format_exception(raised.value))
    assert "wrong-secret" not in told
    assert "hidden" not in told


@pytest.mark.parametrize("user", ["line:p%40ss%3Aw%2Frd%3F", "line:p@ss:w%2Frd%3F", "l%69ne:${CAMERA_PASSWORD}"])
def test_user_and_password_as_a_url_writes_them(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "p@ss:w/rd?")
    with MjpegServer(user="line:p@ss:w/rd?") as server:
        source = opened(f"http://{user}@127.0.0.1:{server.port}/video.mjpg")
        assert next_frame(source).image.shape == (240, 320, 3)
        source.close()


def test_advice_survives_what_hides_secrets() -> None:
    with MjpegServer(user="line:word") as server, pytest.raises(SourceError) as raised:
        made(f"http://127.0.0.1:{server.port}/video.mjpg?token=hidden").open()

    told = safe_text(raised.value)
    assert told == (
        f"http://127.0.0.1:{server.port}/video.mjpg?token=***: the camera answered 401 Unauthorized. Give its user and "
        "password in front of the host: USER:${CAMERA_PASSWORD}@HOST."
    )


def test_where_a_camera_sends_us_is_told_without_secrets(server: MjpegServer) -> None:
    server.redirect = "/login?next=%2Fvideo&psw=hidden"
    with pytest.raises(SourceError) as raised:
        made(server.url).open()

    assert f"sends us to http://127.0.0.1:{server.port}/login?next=***&psw=***: give that" in str(raised.value)


@pytest.mark.parametrize(("path", "said"), [("/nothing", "404"), ("/page.html", "404")])
def test_a_wrong_path(server: MjpegServer, path: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        made(server.url_of(path)).open()


KINDS = [
    "multipart/mixed; boundary=frame-boundary",
    "application/octet-stream",
    "video/x-motion-jpeg",
    "video/x-jpeg",
    "",
]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_camera_calls_its_stream(server: MjpegServer, kind: str) -> None:
    server.kind = kind
    source = opened(server.url)
    levels = [next_frame(source).image.mean() for _ in range(3)]
    source.close()

    assert len({round(level) for level in levels}) == 3
    assert server.connections == 1


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", ""])
def test_whatever_a_camera_calls_its_snapshot(server: MjpegServer, kind: str) -> None:
    server.kind = kind
    source = opened(server.url_of("/snapshot.jpg"))
    frames = [next_frame(source).image for _ in range(3)]
    source.close()

    assert [round(frame.mean()) for frame in frames] == [30, 40, 50]


@pytest.mark.parametrize("kind", ["text/html", "application/json", "video/mp4"])
def test_what_is_no_stream_of_pictures(server: MjpegServer, kind: str) -> None:
    server.kind = kind
    with pytest.raises(SourceError, match=f"expected MJPEG or a picture, got {kind}"):
        made(server.url).open()


@pytest.mark.parametrize("path", ["/video.mjpg", "/snapshot.jpg"])
def test_a_camera_that_sends_png(server: MjpegServer, path: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    server.coding, server.frame = ".png", lambda number: noise
    source = opened(server.url_of(path))
    images = [next_frame(source).image for _ in range(3)]
    server.mode = "damaged"
    damaged = source.read() if path == "/video.mjpg" else NoFrame("it is cut off")
    while not isinstance(damaged, NoFrame):
        damaged = source.read()
    source.close()

    np.testing.assert_array_equal(images, [noise] * 3)
    assert "is cut off" in damaged.reason


@pytest.mark.parametrize("scheme", ["MD5", "SHA-256", "MD5-sess"])
@pytest.mark.parametrize("path", ["/video.mjpg?a=b c", "/snapshot.jpg"])
def test_digest_authentication(scheme: str, path: str) -> None:
    with MjpegServer(user="line:p\u00e4ss") as server:
        server.scheme = scheme
        address = f"http://line:p%C3%A4ss@127.0.0.1:{server.port}{path}"
        source = opened(address)
        frames = [next_frame(source) for _ in range(3)]
        # The camera was started anew: what it asked for before is stale.
        server.nonce = "nonce-1"
        if "snapshot" not in path:
            source.close()
            source.open()
        frames.append(next_frame(source))
        source.close()
        with pytest.raises(SourceError, match="It does not take this user name"):
            made(address.replace("line", "lime")).open()

    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    # The password itself is never sent.
    assert {kind for _, kind in server.asked} == {"", "Digest"}


def test_an_authentication_that_nobody_here_speaks() -> None:
    with MjpegServer(user="line:word") as server:
        server.scheme = "NTLM"
        with pytest.raises(SourceError, match=r"It asks for NTLM; Digest .* and Basic authentication can be answered"):
            made(server.url).open()


def test_https_with_the_cameras_own_certificate(tmp_path: Path) -> None:
    certificate, tls = self_signed(tmp_path)
    with MjpegServer(tls=tls) as server:
        address = server.url_of("/video.mjpg?channel=1")
        with pytest.raises(SourceError, match=r"self-signed certificate.*ca=FILE"):
            made(address).open()
        source = opened(f"{address}&ca={certificate}")
        frame = next_frame(source)
        source.close()

    assert frame.image.shape == (240, 320, 3)
    assert server.asked == [("/video.mjpg?channel=1", "")]
    with pytest.raises(OptionError, match="is no file of certificates"):
        made(f"{address}&ca={tmp_path}/gone.pem")


def test_https_of_another_name(tmp_path: Path) -> None:
    certificate, tls = self_signed(tmp_path, "DNS:another")
    with (
        MjpegServer(tls=tls) as server,
        pytest.raises(SourceError, match=r"certificate is not valid for '127.0.0.1'"),
    ):
        made(f"{server.url}?ca={certificate}").open()


def test_an_address_without_a_host() -> None:
    with pytest.raises(OptionError, match="expected a host"):
        made("http:video.mjpg")


def test_grey_pictures(server: MjpegServer) -> None:
    server.frame = lambda _: np.full((10, 20), 99, np.uint8)
    source = opened(server.url)

    assert next_frame(source).image.shape == (10, 20)
    source.close()
