"""MQTT: verdicts and the state to a broker.

``mqtt://user:${PASSWORD}@broker:1883/line/1?qos=1&every=event``, or ``mqtts:`` behind TLS, with ``ca=FILE`` where the
broker's certificate is signed by an authority of one's own. Topics below the one in the address:

- ``state``: PASS, REJECT, INVALID or UNKNOWN, retained: what a lamp shall show. UNKNOWN at the end, also if this
  process is killed (last will);
- ``availability``: ``online``, and ``offline`` at the end in the same way; retained;
- ``verdict``: one JSON object an event (`edgecnn.runtime.loop.record.as_record`).

A connection has one last will, so ``availability`` has a connection of its own.

A verdict is delivered when the broker has confirmed it. While the broker is away verdicts wait, at most `WAITING` of
them, and are sent when it is back; further ones are lost. So are those that it has not confirmed when the loop ends.
There is no ``qos=0``: with it, nobody could count what was lost.
"""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.record import as_record
from edgecnn.runtime.sinks import PATIENCE_SECONDS, Sink, SinkContext, missing, unheard
from edgecnn.vision.results import Verdict

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

EXAMPLE = "mqtt://broker/line/1"
WAITING = 1000
"""Verdicts that wait for the broker."""
KEEPALIVE_SECONDS = 10
"""A broker that is silent for twice as long counts as lost; so does this process for the broker."""
CONNECT_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 4
"""Longest pause between two tries to connect."""
_GOODBYE_SECONDS = 0.7
_UNKNOWN = "UNKNOWN"


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that publishes; see this file's docstring.

    Raises:
        OptionError: If host or topic is missing, or an option is wrong.
        SinkError: If paho-mqtt is not installed, or the file of ``ca`` cannot be read.
    """
    topic = address.path.strip("/")
    if not address.host or not topic or "+" in topic or "#" in topic:
        raise OptionError(f"{address}: expected a broker and a topic, for example {EXAMPLE}")
    options = address.options()
    qos = options.integer("qos", 1, 1, 2)
    every = options.choice("every", "event", ("event", "turn"))
    authority = options.text("ca") if address.scheme == "mqtts" else ""
    options.done()
    clients = _client(address, authority), _client(address, authority)
    return Mqtt(*clients, address, topic, qos, every == "turn", context)


def _client(address: Address, authority: str) -> Client:
    """Return a client that knows who it is; it connects to nothing yet."""
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise missing("mqtt", "edgecnn[mqtt]", error) from error
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"edgecnn-{secrets.token_hex(6)}")
    if address.username is not None:
        client.username_pw_set(address.username, address.password)
    if address.scheme == "mqtts":
        try:
            client.tls_set_context(ssl.create_default_context(cafile=authority or None))
        except OSError as error:
            raise SinkError(f"{address}: '{authority}' is no file of certificates: {error}.") from error
    client.max_queued_messages_set(WAITING)
    client.reconnect_delay_set(1, LONGEST_PAUSE_SECONDS)
    client.connect_timeout = CONNECT_SECONDS
    return client


class Mqtt:
    """Publishes verdicts and the state. The clients' own threads connect, again and again if need be.

    Attributes:
        trouble: Why there is no connection; empty while there is one, and while the first try is under way.
        connected: Whether there is one.
    """

    images = False

    def __init__(
        self,
        client: Client,
        presence: Client,
        address: Address,
        topic: str,
        qos: int,
        every_turn: bool,
        context: SinkContext,
    ) -> None:
        self.every_turn, self._waits, self._run = every_turn, context.waits, context.run
        self._client, self._shown, self._topic, self._qos = client, str(address), topic, qos
        self._place = address.host, address.port or (8883 if address.scheme == "mqtts" else 1883)
        self._presence = _Presence(presence, f"{topic}/availability")
        self._state = _UNKNOWN
        self.trouble, self.connected, self.confirm = "", False, unheard
        self._unconfirmed: dict[int, float] = {}
        # Filled by the client's thread, emptied by the sink's: number of the message, and when.
        self._answers: deque[tuple[int, float]] = deque()
        self._answered = threading.Event()
        self._started = self._closed = False

    def send(self, observation: Observation) -> None:
        """Publish one verdict, and the state if it is another one."""
        from paho.mqtt.enums import MQTTErrorCode

        self._start()
        self._tell_state(observation.state)
        text = json.dumps(as_record(observation, self._run), allow_nan=False)
        info = self._publish(text)
        # Without a connection the client keeps the message until there is one: no loss.
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            reason = f" ({self.trouble})" if self.trouble else ""
            raise SinkError(f"{self._shown}: {WAITING} verdicts wait for the broker already{reason}.")
        self._unconfirmed[info.mid] = observation.captured
        self._count_answers()

    def idle(self) -> None:
        """Begin to connect, the first time; say what is wrong while there is no connection."""
        self._start()
        self._count_answers()
        if self.trouble:
            raise SinkError(f"{self._shown}: {self.trouble}. Trying again.")

    def close(self) -> None:
        """Give waiting verdicts a moment to leave, publish UNKNOWN and ``offline``, and disconnect.

        Raises:
            SinkError: If the broker did not confirm all verdicts; with their number.
        """
        if self._closed or not self._started:
            return
        self._closed = True
        if self.connected or self._waits:
            self._await_answers()
        if self.connected:
            self._retain("state", _UNKNOWN)
        self._presence.say_goodbye()
        self._client.disconnect()
        _end_threads((self._client, self._presence.client))
        # A client keeps two sockets to wake its thread until nobody knows it any more.
        del self._client, self._presence
        self._count_answers()
        if lost := len(self._unconfirmed):
            reason = f" ({self.trouble})" if self.trouble else ""
            raise SinkError(f"{self._shown}: {lost} verdicts were not confirmed by the broker{reason}.", lost)

    def _publish(self, text: str) -> MQTTMessageInfo:
        """Publish a verdict; where the source waits, as soon as the broker makes room for it."""
        from paho.mqtt.enums import MQTTErrorCode

        while True:
            self._answered.clear()
            info = self._client.publish(f"{self._topic}/verdict", text, self._qos)
            full = info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            if not (full and self._waits and self.connected and self._answered.wait(PATIENCE_SECONDS)):
                return info

    def _await_answers(self) -> None:
        """Give the broker a moment to confirm what waits; where the source waits, as long as answers come."""
        longest = PATIENCE_SECONDS if self._waits else _GOODBYE_SECONDS
        deadline = time.monotonic() + longest
        while self._unconfirmed and time.monotonic() < deadline:
            self._answered.clear()
            self._count_answers()
            if self._unconfirmed and self._answered.wait(max(0.0, deadline - time.monotonic())) and self._waits:
                deadline = time.monotonic() + longest

    def _count_answers(self) -> None:
        while self._answers:
            number, answered = self._answers.popleft()
            captured = self._unconfirmed.pop(number, None)
            if captured is not None:
                self.confirm(answered - captured)

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._client.will_set(f"{self._topic}/state", _UNKNOWN, qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._unreachable
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._published
        for client in (self._client, self._presence.client):
            client.connect_async(*self._place, KEEPALIVE_SECONDS)
            client.loop_start()

    def _tell_state(self, state: Verdict | None) -> None:
        text = _UNKNOWN if state is None else state.value
        if text != self._state:
            self._state = text
            self._retain("state", text)

    def _retain(self, name: str, text: str) -> None:
        """Publish something of which only the newest counts: it never waits, but is told again on connecting."""
        self._client.publish(f"{self._topic}/{name}", text, qos=0, retain=True)

    def _connected(
        self, client: Client, data: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.trouble = f"the broker refused the connection: {reason}"
            return
        self.trouble, self.connected = "", True
        self._retain("state", self._state)

    def _published(self, client: Client, data: object, number: int, reason: ReasonCode, properties: Properties) -> None:
        self._answers.append((number, time.monotonic()))
        self._answered.set()

    def _unreachable(self, client: Client, data: object) -> None:
        host, port = self._place
        # paho calls this where it handles the error, and tells it nobody.
        error = sys.exc_info()[1]
        self.trouble = f"no connection to {host}:{port}{f': {error}' if error else ''}"

    def _disconnected(
        self, client: Client, data: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.connected = False
        if not self._closed and not (self.trouble and reason.is_failure):
            self.trouble = f"the connection was lost: {reason}"


class _Presence:
    """Says ``online`` and ``offline``, by a connection of its own for the sake of its last will."""

    def __init__(self, client: Client, topic: str) -> None:
        self.client, self._topic = client, topic
        client.will_set(topic, "offline", qos=1, retain=True)
        client.on_connect = self._connected

    def say_goodbye(self) -> None:
        """Publish ``offline`` and disconnect."""
        if self.client.is_connected():
            self.client.publish(self._topic, "offline", qos=0, retain=True)
        self.client.disconnect()

    def _connected(
        self, client: Client, data: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if not reason.is_failure:
            client.publish(self._topic, "online", qos=0, retain=True)


def _end_threads(clients: Sequence[Client]) -> None:
    """End the clients' threads; a broker that takes nothing is hung up on."""

    def stop() -> None:
        for client in clients:
            client.loop_stop()

    stopper = threading.Thread(target=stop, name="edgecnn-mqtt-stop", daemon=True)
    stopper.start()
    stopper.join(_GOODBYE_SECONDS)
    for connection in (client.socket() for client in clients):
        if stopper.is_alive() and isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
    stopper.join(_GOODBYE_SECONDS)
    for client in clients:
        client.on_connect = client.on_connect_fail = client.on_disconnect = client.on_publish = None
