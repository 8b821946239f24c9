"""Prometheus: the loop's figures, to be fetched from ``http://127.0.0.1:9464/metrics``.

``prometheus:`` or ``prometheus://127.0.0.1:9464``. Nobody but this machine can read it unless another address is given
(``prometheus://0.0.0.0:9464``); there is no password: the web page's ``/metrics`` has one.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.metrics import CONTENT_TYPE, exposition
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.sinks import Sink, SinkContext, missing

EXAMPLE = "prometheus://127.0.0.1:9464"
PORT = 9464
_POLL_SECONDS = 0.1
_CLIENT_SECONDS = 2.0


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that answers scrapes from now on.

    Raises:
        OptionError: If the address has a path, or options.
        SinkError: If prometheus-client is not installed, or the port is taken.
    """
    if address.path.strip("/"):
        raise OptionError(f"{address}: expected an address and a port, for example {EXAMPLE}")
    address.options().done()

    def page() -> bytes:
        return exposition(context.snapshot(), context.labels)

    try:
        import prometheus_client
    except ImportError as error:
        raise missing("prometheus", "edgecnn[prometheus]", error) from error
    assert prometheus_client
    port = PORT if address.port is None else address.port
    return Prometheus(address.host or "127.0.0.1", port, page)


class Prometheus:
    """Answers scrapes, one after the other, from a thread of its own."""

    every_turn = False
    images = False

    def __init__(self, host: str, port: int, page: Callable[[], bytes]) -> None:
        try:
            self._server = _Server(host, port, page)
        except OSError as error:
            raise SinkError(f"prometheus: {host}:{port} cannot be listened on: {error.strerror}.") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="edgecnn-prometheus", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def send(self, observation: Observation) -> None:
        """Do nothing: figures are fetched."""

    def idle(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2 * _CLIENT_SECONDS)


class _Server(TCPServer):
    """One client at a time, each for a bounded time."""

    allow_reuse_address = True

    def __init__(self, host: str, port: int, page: Callable[[], bytes]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.page = page
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS
    server: _Server

    def do_GET(self) -> None:
        """Answer with the figures."""
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.send_error(404)
            return
        text = self.server.page()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""
