"""What a page costs the loop, and what it leaves behind."""

from __future__ import annotations

import gc
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.web import events as events_module
from edgecnn.runtime.web import pictures as pictures_module
from edgecnn.runtime.web import server as server_module
from edgecnn.runtime.web.page import Page
from edgecnn.runtime.web.pictures import LARGEST, REST_SECONDS, SMALLEST, Pictures, fitted
from edgecnn.runtime.web.server import CONNECTIONS
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.web.conftest import Line, ask, port_of
from tests.waiting import PATIENCE, joined, until

Serve = Callable[..., Page]


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the observations that were drawn."""
    numbers: list[int] = []
    jpeg = Pictures.jpeg

    def counted(self: Pictures, observation: Observation) -> bytes:
        numbers.append(observation.number)
        return jpeg(self, observation)

    monkeypatch.setattr(Pictures, "jpeg", counted)
    return numbers


def test_nothing_is_drawn_while_nobody_looks(serve: Serve, line: Line, painted: list[int]) -> None:
    page = serve()
    for _ in range(200):
        page.send(line.see(Verdict.PASS))
    assert painted == []
    assert ask(page, "/live.jpg").headers["etag"] == '"200"'
    assert painted == [200]


def test_all_viewers_share_the_same_pictures(
    serve: Serve, line: Line, painted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(pictures_module, "time", clock)
    page = serve()
    for _ in range(100):
        page.send(line.see(Verdict.PASS))
        assert ask(page, "/live.jpg").status == 200
        clock.sleep(REST_SECONDS / 9.5)
    assert painted == list(range(1, 101, 10))


def test_events_are_drawn_ten_times_a_second_at_most(
    serve: Serve, line: Line, painted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "REST_SECONDS", 3600.0)
    page = serve()
    for number in range(50):
        page.send(line.see((Verdict.PASS, Verdict.REJECT)[number % 2]))
    assert painted == [2]


@pytest.mark.parametrize("shape", [(2160, 3840, 3), (720, 1280), (480, 640, 3), (64, 64, 3), (1, 3000), (9, 2, 1)])
def test_frames_are_brought_to_a_size_that_can_be_read_and_sent(shape: tuple[int, ...]) -> None:
    picture = fitted(np.zeros(shape, np.uint8))
    assert SMALLEST // 2 < max(picture.shape[:2]) <= LARGEST
    assert max(picture.shape[:2]) / max(shape[:2]) == pytest.approx(max(picture.shape[1], 1) / shape[1], rel=0.5)


def hold(port: int, text: bytes) -> socket.socket:
    """Open a connection, send, and never read."""
    held = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    held.sendall(text)
    return held


def is_cut(held: socket.socket) -> bool:
    held.settimeout(0.001)
    try:
        return held.recv(1 << 20) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


REQUEST = b"GET /live.jpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_many_viewers_who_do_not_read_are_bounded_and_hold_up_nobody(
    serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is cut for being slow: who waited for one of them would wait for ever.
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 3600.0)
    line.image = np.random.default_rng(0).integers(0, 256, (720, 960, 3), dtype=np.uint8)
    page = serve()
    page.send(line.see(Verdict.PASS))
    port = port_of(page)
    before = len(os.listdir("/proc/self/fd"))
    held = [hold(port, REQUEST * 4) for _ in range(CONNECTIONS + 40)]
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + len(held) + CONNECTIONS)
    sending = threading.Thread(target=lambda: [page.send(line.see(Verdict.PASS)) for _ in range(300)])
    sending.start()
    joined(sending)
    until(lambda: sum(is_cut(one) for one in held) >= 40)
    for one in held:
        one.close()
    until(lambda: _answers(page))


@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\nHost: 127."])
def test_a_visitor_who_asks_for_nothing_shuts_out_nobody(
    serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    # Nobody is cut for being slow.
    monkeypatch.setattr(server_module, "ASK_SECONDS", 3600.0)
    page = serve()
    page.send(line.see(Verdict.PASS))
    held = [hold(port_of(page), text) for _ in range(CONNECTIONS + 16)]
    answers = [ask(page, path).status for path in ("/", "/metrics", "/healthz", "/state.json", "/live.jpg")]
    until(lambda: sum(is_cut(one) for one in held) >= 16, "room for those who ask")

    assert answers == [200] * 5
    # The oldest made room, not the newest.
    assert not is_cut(held[-1])
    for one in held:
        one.close()


def _answers(page: Page) -> bool:
    try:
        return ask(page, "/live.jpg").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\nHost: 127.", REQUEST])
def test_a_visitor_who_takes_too_long_is_cut(
    serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    for name in ("ASK_SECONDS", "REQUEST_SECONDS"):
        monkeypatch.setattr(server_module, name, 0.3)
    page = serve()
    page.send(line.see(Verdict.PASS))
    held = hold(port_of(page), text)
    until(lambda: is_cut(held))
    held.close()
    assert ask(page, "/healthz").status == 200


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_left_after_close(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> list[str]:
        return sorted(thread.name for thread in threading.enumerate())

    # Nobody is cut for being slow, so it is closing that ends their connections.
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 3600.0)
    line.image = np.random.default_rng(0).integers(0, 256, (720, 960, 3), dtype=np.uint8)
    Page(line.context(), token="").close()
    # The first page opens what stays open for good, such as the C library's.
    for attempt in range(3):
        page = Page(line.context(), token="")
        page.start()
        page.send(line.see(Verdict.PASS))
        assert "edgecnn-web" in threads()
        # More than all buffers between the two take.
        held = [hold(port_of(page), REQUEST * 50) for _ in range(8)]
        assert ask(page, "/").status == 200
        page.close()
        page.close()
        until(lambda: "edgecnn-web" not in threads(), "the end of the page's thread")
        for one in held:
            one.close()
        # What was forgotten warns when it is collected.
        gc.collect()
        left = threads(), len(os.listdir("/proc/self/fd"))
        if attempt == 0:
            first = left
    assert left == first


def test_the_thread_is_a_daemon_and_signals_stay_as_they_were(serve: Serve) -> None:
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    serve()
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "edgecnn-web"] == [True]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_ten_thousand_observations_do_not_grow_memory(
    serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "REST_SECONDS", 0.05)
    line.parts = True
    page = serve()

    def feed(count: int) -> None:
        for number in range(count):
            verdict = (Verdict.PASS, Verdict.REJECT, Verdict.INVALID)[number // 3 % 3]
            part = Part(number, verdict, 3, 1, 1, 0.5) if number % 3 == 2 else None
            page.send(line.see(verdict, 0.5, part))
            if number % 500 == 0:
                page.state()
                page.picture()

    feed(6000)
    tracemalloc.start()
    try:
        feed(1000)
        before = tracemalloc.get_traced_memory()[0]
        feed(10_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Pictures of events differ in size by a few kB; a leak of 20 bytes an observation would be 200 kB.
    assert grown < 200_000
