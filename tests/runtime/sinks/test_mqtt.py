from __future__ import annotations

import json
import math
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.sinks import Sink, mqtt, open_sink
from edgecnn.runtime.sinks.mqtt import _GOODBYE_SECONDS, CONNECT_SECONDS, LONGEST_PAUSE_SECONDS, Mqtt
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.brokers import Broker, Listener
from tests.runtime.sinks.observations import context, nothing_left, observed, started, turned
from tests.waiting import joined, until

pytest.importorskip("paho.mqtt", reason="needs edgecnn[mqtt]")

from paho.mqtt.client import MQTTMessageInfo

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
    try:
        sink.idle()
    except SinkError:
        return False
    return True


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
        assert late.payloads(f"{TOPIC}/availability") == ["online"]
        assert late.payloads(f"{TOPIC}/verdict") == []
        late.close()
        sink.close()
        sink.close()
    until(lambda: listener.payloads(f"{TOPIC}/availability") == ["online", "offline"])
    assert listener.payloads(f"{TOPIC}/state") == ["UNKNOWN", "PASS", "REJECT"]
    assert json.loads(listener.payloads(f"{TOPIC}/verdict")[1])["verdict"] == "REJECT"


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
        with pytest.raises(SinkError, match=r"no connection|not connected"):
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
    assert late.payloads(f"{TOPIC}/availability") == ["online"]
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


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each wait for a thread or an answer, in this thread, may take; None for ever."""
    found: list[float | None] = []
    here = threading.current_thread()

    def noted(wait: Callable[..., None]) -> Callable[..., None]:
        def noting(waiting: object, timeout: float | None = None) -> None:
            if threading.current_thread() is here:
                found.append(timeout)
            wait(waiting, timeout)

        return noting

    monkeypatch.setattr(MQTTMessageInfo, "wait_for_publish", noted(MQTTMessageInfo.wait_for_publish))
    monkeypatch.setattr(threading.Thread, "join", noted(threading.Thread.join))
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
    process.kill()
    process.communicate()
    until(lambda: listener.payloads(f"{TOPIC}/availability") == ["online", "offline"])


@pytest.mark.parametrize("user", ["line:${MQTT_PASSWORD}", "line:p%40ss%2Fword"])
def test_user_and_password(
    user: str,
    make_broker: Callable[..., Broker],
    listen: Callable[..., Listener],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "p@ss/word")
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("needs mosquitto_passwd: apt install mosquitto")
    subprocess.run([program, "-b", "-c", tmp_path / "users", "line", "p@ss/word"], check=True, capture_output=True)
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
    told: list[str] = []

    def refused() -> bool:
        with pytest.raises(SinkError) as caught:
            sink.idle()
        told.append(str(caught.value))
        return "refused the connection" in told[-1]

    until(refused)
    assert not any("p@ss" in text or "line:" in text for text in told)
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

    def failed() -> bool:
        with pytest.raises(SinkError) as caught:
            stranger.idle()
        return "no connection" in str(caught.value)

    until(failed)
    stranger.close()


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
