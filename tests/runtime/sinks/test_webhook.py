from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.sinks import open_sink, webhook
from tests.runtime.sinks.observations import REJECT, RUN, context, nothing_left, turned
from tests.waiting import PATIENCE


@dataclass
class Receiver:
    """What a server was sent, and what it shall answer: a status a request, the last one for ever; 0 for silence."""

    port: int
    answers: list[int]
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    tries: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def receiver(*answers: int) -> Iterator[Receiver]:
    """Serve; behind a silence, the next answer may take as long as it needs."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.paths.append(self.path)
            found.authorization.append(self.headers["Authorization"])
            found.tries.append((self.headers["Edgecnn-Event-Id"], self.headers["Edgecnn-Attempt"]))
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            if status == 0:
                webhook.ANSWER_SECONDS = PATIENCE
                released.wait(PATIENCE)
                return
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{found.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(server.server_address[1], list(answers))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.02))


def test_events_arrive_with_the_urls_own_query() -> None:
    with nothing_left(), receiver(204) as found:
        sink = open_sink(f"webhook:http://127.0.0.1:{found.port}/a/b c?line=1&every=é%20", context())
        assert not sink.every_turn
        sink.send(turned(1, REJECT))
        sink.idle()
        sink.close()
    assert found.paths == ["/a/b%20c?line=1&every=%C3%A9%20"]
    assert (found.bodies[0]["verdict"], found.bodies[0]["number"]) == ("REJECT", 1)
    assert found.authorization == [None]


def test_credentials_of_the_environment_and_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3/cr@t")
    with receiver(200) as found:
        for user in ("${HOOK_TOKEN}", "me:${HOOK_TOKEN}", "s3%2Fcr%40t", "me:s3%2Fcr%40t"):
            open_sink(f"webhook:http://{user}@127.0.0.1:{found.port}/", context()).send(turned())
    assert found.authorization == ["Bearer s3/cr@t", "Basic bWU6czMvY3JAdA=="] * 2
    assert found.paths == ["/"] * 4


@pytest.mark.parametrize("trouble", [500, 503, 429, 408, 0])
def test_what_may_pass_is_tried_again(trouble: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if trouble == 0:
        monkeypatch.setattr(webhook, "ANSWER_SECONDS", 1.0)
    with nothing_left(), receiver(trouble, 200) as found:
        open_sink(f"webhook:http://127.0.0.1:{found.port}/", context()).send(turned())
    assert [body["number"] for body in found.bodies] == [1, 1]


def test_tries_can_be_told_apart_and_events_too() -> None:
    with receiver(503, 503, 200, 200) as found:
        sink = open_sink(f"webhook:http://127.0.0.1:{found.port}/", context())
        sink.send(turned(1))
        sink.send(turned(2))
    first, second = RUN.event_id(1), RUN.event_id(2)
    assert found.tries == [(first, "1"), (first, "2"), (first, "3"), (second, "1")]
    assert [body["id"] for body in found.bodies] == [first, first, first, second]
    assert found.bodies[0] == found.bodies[1] == found.bodies[2]


def test_what_lasts_is_lost_after_three_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "verysecret")
    with receiver(503) as found:
        sink = open_sink(f"webhook:http://${{HOOK_TOKEN}}@127.0.0.1:{found.port}/?key=othersecret", context())
        with pytest.raises(SinkError, match=r"answered 503.*3 tries") as caught:
            sink.send(turned())
        assert len(found.paths) == 3
        found.answers[:] = [200]
        sink.send(turned(2))
    assert "secret" not in str(caught.value)
    assert found.bodies[-1]["number"] == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404])
def test_refusals_and_redirects_are_final(status: int) -> None:
    with receiver(status) as found, pytest.raises(SinkError, match=f"answered {status}"):
        open_sink(f"webhook:http://127.0.0.1:{found.port}/here", context()).send(turned())
    assert found.paths == ["/here"]


def test_nobody_there() -> None:
    with receiver(200) as found:
        pass
    with nothing_left(), pytest.raises(SinkError, match="Connection refused"):
        open_sink(f"webhook:http://127.0.0.1:{found.port}/", context()).send(turned())


@pytest.mark.parametrize("address", ["webhook:", "webhook:/a", "webhook:ftp://host/", "webhook:https:///path"])
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(OptionError, match="http"):
        open_sink(address, context())
