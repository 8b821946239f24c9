from __future__ import annotations

import json
import math
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.loop.outlets import Outlet
from edgecnn.runtime.sinks import Sink, mqtt, open_sink
from edgecnn.runtime.sinks.mqtt import _GOODBYE_SECONDS, CONNECT_SECONDS, LONGEST_PAUSE_SECONDS, Mqtt
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.brokers import Broker, Listener
from tests.runtime.sinks.observations import context, nothing_left, observed, started, turned
from tests.waiting import PATIENCE, joined, until

pytest.importorskip("paho.mqtt", reason="needs edgecnn[mqtt]")

TOPIC = "plant/line1"


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Return a function that makes a broker; all of them are killed at the end."""
    made: list[Broker] = []

    def make(settings: str = "allow_anonymous true") -> Broker:
        made.append(Broker(tmp_path, settings))
        return made[-1]

    yield make
    for broker in made:
        broker.end()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    found = make_broker()
    found.start()
    return found


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Return a function that starts a listener; all of them end at the end."""
    made: list[Listener] = []

    def make(port: int, *options: str) -> Listener:
        made.append(Listener(port, *options))
        return made[-1]

    yield make
    for listener in made:
        listener.close()


def opened(port: int, options: str = "") -> Sink:
    return open_sink(f"mqtt://127.0.0.1:{port}/{TOPIC}?{options}", context())


def connected(sink: Sink) -> bool:
    assert isinstance(sink, Mqtt)
    with suppress(SinkError):
        sink.idle()
    return sink.connected


def refused(sink: Sink, text: str) -> bool:
    """Whether it says that it cannot connect, for this reason."""
    assert isinstance(sink, Mqtt)
    with suppress(SinkError):
        sink.idle()
    return text in sink.trouble


@pytest.mark.parametrize("qos", [1, 2])
def test_a_broker_really_gets_verdicts_state_and_availability(
    broker: Broker, listen: Callable[..., Listener], qos: int
) -> None:
    listener = listen(broker.port)
    with nothing_left():
        sink = opened(broker.port, f"qos={qos}")
        assert not sink.every_turn
        until(lambda: connected(sink))
        sink.send(turned(1, Verdict.PASS))
        sink.send(turned(2, Verdict.REJECT))
        until(lambda: listener.numbers(f"{TOPIC}/verdict") == [1, 2])
        late = listen(broker.port)
        until(lambda: late.payloads(f"{TOPIC}/state") == ["REJECT"], "the retained state")
        until(lambda: late.payloads(f"{TOPIC}/availability") == ["online"])
        assert late.payloads(f"{TOPIC}/verdict") == []
        late.close()
        sink.close()
        sink.close()
    until(lambda: listener.payloads(f"{TOPIC}/availability") == ["online", "offline"])
    until(lambda: listener.payloads(f"{TOPIC}/state") == ["UNKNOWN", "PASS", "REJECT", "UNKNOWN"])
    assert retained(broker, listen) == {"state": "UNKNOWN", "availability": "offline"}
    assert json.loads(listener.payloads(f"{TOPIC}/verdict")[1])["verdict"] == "REJECT"


def retained(broker: Broker, listen: Callable[..., Listener]) -> dict[str, str]:
    """Return what somebody who comes now is told."""
    late, found = listen(broker.port), {}
    for name in ("state", "availability"):
        until(lambda name=name: late.payloads(f"{TOPIC}/{name}"), f"the retained {name}")
        (found[name],) = late.payloads(f"{TOPIC}/{name}")
    late.close()
    return found


def test_closing_delivers_what_waits(broker: Broker, listen: Callable[..., Listener]) -> None:
    listener = listen(broker.port)
    sink = opened(broker.port, "every=turn")
    assert sink.every_turn
    until(lambda: connected(sink))
    for number in range(100):
        sink.send(observed(number))
    sink.close()
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == list(range(100)))


def test_a_broker_that_is_down_at_the_start(
    make_broker: Callable[..., Broker], listen: Callable[..., Listener]
) -> None:
    broker = make_broker()
    with nothing_left():
        sink = opened(broker.port)
        sink.send(turned(1, Verdict.PASS))
        until(lambda: refused(sink, f"no connection to 127.0.0.1:{broker.port}: "))
        with pytest.raises(SinkError, match=r"Connection refused\. Trying again"):
            sink.idle()
        broker.start()
        listener = listen(broker.port)
        until(lambda: listener.numbers(f"{TOPIC}/verdict") == [1])
        until(lambda: connected(sink))
        sink.close()
        listener.close()


def test_a_broker_that_is_killed_and_comes_back(broker: Broker, listen: Callable[..., Listener]) -> None:
    sink = opened(broker.port)
    until(lambda: connected(sink))
    sink.send(turned(1, Verdict.PASS))
    broker.kill()
    until(lambda: not connected(sink))
    sink.send(turned(2, Verdict.REJECT))
    # When it starts, the client is at most in the longest pause, and one try behind it succeeds.
    assert isinstance(sink, Mqtt)
    assert sink._client._reconnect_max_delay + CONNECT_SECONDS == LONGEST_PAUSE_SECONDS + CONNECT_SECONDS < 6
    broker.start()
    until(lambda: connected(sink))
    late = listen(broker.port)
    until(lambda: late.payloads(f"{TOPIC}/state") == ["REJECT"], "the state, told again to an empty broker")
    until(lambda: late.payloads(f"{TOPIC}/availability") == ["online"])
    sink.send(turned(3, Verdict.PASS))
    until(lambda: 3 in late.numbers(f"{TOPIC}/verdict"))
    sink.close()


def test_a_slow_broker_does_not_hold_up_and_gets_everything(broker: Broker, listen: Callable[..., Listener]) -> None:
    listener = listen(broker.port)
    sink = opened(broker.port)
    until(lambda: connected(sink))
    broker.freeze()
    sending = threading.Thread(target=lambda: [sink.send(turned(number, Verdict.REJECT)) for number in range(200)])
    sending.start()
    joined(sending)
    broker.thaw()
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == list(range(200)))
    sink.close()


def test_what_does_not_fit_into_the_queue_is_lost_and_told(
    broker: Broker, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "WAITING", 50)
    listener = listen(broker.port)
    sink = opened(broker.port)
    until(lambda: connected(sink))
    broker.freeze()
    for number in range(80):
        if number < 50:
            sink.send(turned(number, Verdict.PASS))
        else:
            with pytest.raises(SinkError, match="50 verdicts wait"):
                sink.send(turned(number, Verdict.PASS))
    broker.thaw()
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == list(range(50)))
    sink.close()


def test_a_file_waits_for_a_broker_that_is_full_and_for_its_last_answers(
    broker: Broker, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "WAITING", 50)
    monkeypatch.setattr(mqtt, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(mqtt, "_GOODBYE_SECONDS", 0.0)
    listener = listen(broker.port)
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}", replace(context(), waits=True))
    assert isinstance(sink, Mqtt)
    until(lambda: connected(sink))
    broker.freeze()
    sending = threading.Thread(target=lambda: [sink.send(turned(number)) for number in range(120)])
    sending.start()
    until(lambda: len(sink._unconfirmed) == 50, "a full queue")
    broker.thaw()
    joined(sending)
    monkeypatch.setattr(mqtt, "_GOODBYE_SECONDS", PATIENCE)
    sink.close()
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == list(range(120)))


def test_a_short_run_over_a_file_waits_for_the_connection(broker: Broker, listen: Callable[..., Listener]) -> None:
    listener = listen(broker.port)
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}", replace(context(), waits=True))
    for number in range(10):
        sink.send(turned(number))
    sink.close()
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == list(range(10)))


class NotedEvent(threading.Event):
    """Notes how long each wait for it may take; None for ever."""

    def __init__(self, waited: list[float | None]) -> None:
        super().__init__()
        self._waited = waited

    def wait(self, timeout: float | None = None) -> bool:
        self._waited.append(timeout)
        return super().wait(timeout)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each wait for a thread in this thread may take; None for ever."""
    found: list[float | None] = []
    here, join = threading.current_thread(), threading.Thread.join

    def noting(thread: threading.Thread, timeout: float | None = None) -> None:
        if threading.current_thread() is here:
            found.append(timeout)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", noting)
    return found


def test_closing_with_a_frozen_broker_takes_two_seconds(
    broker: Broker, waited: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_GOODBYE_SECONDS", _GOODBYE_SECONDS)
    with nothing_left():
        sink = opened(broker.port)
        until(lambda: connected(sink))
        broker.freeze()
        for number in range(900):
            sink.send(turned(number, Verdict.REJECT, name="x" * 10_000))
        waited.clear()
        assert isinstance(sink, Mqtt)
        sink._answered = NotedEvent(waited)
        with pytest.raises(SinkError, match="900 verdicts were not confirmed") as caught:
            sink.close()
        assert caught.value.lost == 900
        assert sum(math.inf if seconds is None else seconds for seconds in waited) < 2.5
    broker.thaw()


def test_the_last_will_of_a_killed_process(broker: Broker, listen: Callable[..., Listener]) -> None:
    listener = listen(broker.port)
    process = started(f"""
        import time
        from tests.runtime.sinks.test_mqtt import opened, turned, until, connected, Verdict
        sink = opened({broker.port})
        until(lambda: connected(sink))
        sink.send(turned(1, Verdict.PASS))
        time.sleep(60)
    """)
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == [1])
    until(lambda: listener.payloads(f"{TOPIC}/availability") == ["online"])
    process.kill()
    process.communicate()
    until(lambda: listener.payloads(f"{TOPIC}/availability") == ["online", "offline"])
    until(lambda: listener.payloads(f"{TOPIC}/state") == ["UNKNOWN", "PASS", "UNKNOWN"])
    assert retained(broker, listen) == {"state": "UNKNOWN", "availability": "offline"}


def let_in(folder: Path, password: str) -> None:
    """Let the user ``line`` in, in the file of users in a folder."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("needs mosquitto_passwd: apt install mosquitto")
    subprocess.run([program, "-b", "-c", folder / "users", "line", password], check=True, capture_output=True)


def test_nothing_is_delivered_before_it_is_confirmed(
    make_broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "right")
    let_in(tmp_path, "wrong")
    broker = make_broker(f"allow_anonymous false\npassword_file {tmp_path / 'users'}\nuser root")
    broker.start()
    sink = open_sink(f"mqtt://line:${{MQTT_PASSWORD}}@127.0.0.1:{broker.port}/{TOPIC}", context())
    with nothing_left():
        outlet = Outlet("mqtt", sink)
        for number in range(20):
            outlet.offer(turned(number))
            # What is only queued does not make a reason go away.
            until(lambda: "refused the connection: Not authorized" in outlet.figures().error)
        figures = outlet.figures()
        assert (figures.delivered, figures.lost, figures.waiting, figures.latency.count) == (0, 0, 20, 0)

        broker.kill()
        let_in(tmp_path, "right")
        broker.start()
        until(lambda: outlet.figures().delivered == 20)
        until(lambda: not outlet.figures().error)
        figures = outlet.figures()
        assert (figures.lost, figures.waiting, figures.latency.count) == (0, 0, 20)
        assert figures.last_error
        outlet.stop()
        outlet.join(PATIENCE)
    assert outlet.figures().error == ""


@pytest.mark.parametrize("user", ["line:${MQTT_PASSWORD}", "line:p%40ss%2Fword"])
def test_user_and_password(
    user: str,
    make_broker: Callable[..., Broker],
    listen: Callable[..., Listener],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "p@ss/word")
    let_in(tmp_path, "p@ss/word")
    broker = make_broker(f"allow_anonymous false\npassword_file {tmp_path / 'users'}\nuser root")
    broker.start()
    listener = listen(broker.port, "-u", "line", "-P", "p@ss/word")
    sink = open_sink(f"mqtt://{user}@127.0.0.1:{broker.port}/{TOPIC}", context())
    until(lambda: connected(sink))
    sink.send(turned(1, Verdict.PASS))
    until(lambda: listener.numbers(f"{TOPIC}/verdict") == [1])
    sink.close()


def test_a_refusal_is_told_without_the_password(
    make_broker: Callable[..., Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "p@ss/word")
    broker = make_broker("allow_anonymous false")
    broker.start()
    sink = open_sink(f"mqtt://line:${{MQTT_PASSWORD}}@127.0.0.1:{broker.port}/{TOPIC}", context())
    until(lambda: refused(sink, "refused the connection"))
    with pytest.raises(SinkError) as caught:
        sink.idle()
    assert "***@127.0.0.1" in str(caught.value)
    assert "p@ss" not in str(caught.value)
    sink.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate ca.pem, and server.pem and server.key signed by it for 127.0.0.1."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    steps = [
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=ca"],
        ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=broker"],
        ["x509", "-req", "-in", "server.csr", *signing, "-extfile", "ext", "-out", "server.pem", "-days", "3650"],
    ]
    for step in steps:
        subprocess.run([program, *step], cwd=folder, check=True, capture_output=True)
    return folder


def test_mqtts_trusts_only_its_authority(make_broker: Callable[..., Broker], certificates: Path) -> None:
    files = f"certfile {certificates / 'server.pem'}\nkeyfile {certificates / 'server.key'}"
    broker = make_broker(f"allow_anonymous true\n{files}\nuser root")
    broker.start()
    address = f"mqtts://127.0.0.1:{broker.port}/{TOPIC}"
    with nothing_left():
        sink = open_sink(f"{address}?ca={certificates / 'ca.pem'}", context())
        until(lambda: connected(sink))
        sink.close()
    stranger = open_sink(address, context())
    stranger.send(turned())
    until(lambda: refused(stranger, "certificate verify failed"))
    with pytest.raises(SinkError, match=r"1 verdicts were not confirmed.*certificate verify failed") as caught:
        stranger.close()
    assert caught.value.lost == 1


def test_closing_before_anything_happened() -> None:
    threads = threading.active_count()
    opened(1).close()
    assert threading.active_count() == threads


def test_a_missing_authority_is_told() -> None:
    with pytest.raises(SinkError, match="no file of certificates"):
        open_sink(f"mqtts://host/{TOPIC}?ca=/nowhere", context())


@pytest.mark.parametrize(
    "address",
    ["mqtt://host", "mqtt:/topic", "mqtt://host/a/#", "mqtt://host/a?qos=0", "mqtt://host/a?ca=x", "mqtt://host/a?q=1"],
)
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(OptionError):
        open_sink(address, context())
