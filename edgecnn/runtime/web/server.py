"""The page's web server: uvicorn in a thread of its own, with a bound on everything a visitor can hold.

Imports starlette and uvicorn; imported only when a page is started.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgecnn.errors import SinkError
from edgecnn.runtime.web.site import site

if TYPE_CHECKING:
    from edgecnn.runtime.web.page import Page

CONNECTIONS = 64
"""Connections at a time. A browser opens up to six: cameras and sinks need descriptors too."""
ASK_SECONDS = 5.0
"""Longest that a visitor may take to ask; then the connection is cut."""
REQUEST_SECONDS = 20.0
"""Longest that a visitor may take to fetch the answer; then the connection is cut."""
IDLE_SECONDS = 5
CLOSE_SECONDS = 2.0


class Connection(H11Protocol):
    """One visitor's connection: one of at most `CONNECTIONS`, cut if asking or fetching takes too long.

    With one more than those, the oldest that has not asked for anything makes room: whoever holds connections shuts out
    nobody, for a request is there as soon as its connection. If all are being answered, it is the oldest of them.
    """

    _end: asyncio.TimerHandle | None = None
    _since = 0.0
    _is_cut = _is_answering = False

    def connection_made(self, transport: Any) -> None:
        """Take a connection; if there are too many, cut another one."""
        super().connection_made(transport)
        self._wait_for_request()
        held = [one for one in self.connections if isinstance(one, Connection) and not one._is_cut]
        if len(held) > CONNECTIONS:
            min((one for one in held if one is not self), key=lambda one: (one._is_answering, one._since)).cut()

    def data_received(self, data: bytes) -> None:
        """Take what a visitor sent; with a whole request the time for its answer begins."""
        super().data_received(data)
        self._look_for_request()

    def on_response_complete(self) -> None:
        """Give the next request its time; it may have come already."""
        self._wait_for_request()
        super().on_response_complete()
        self._look_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._is_cut = True
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def cut(self) -> None:
        """End the connection at once."""
        self._is_cut = True
        self.transport.abort()

    def _wait_for_request(self) -> None:
        self._is_answering, self._since = False, self.loop.time()
        self._end_in(ASK_SECONDS)

    def _look_for_request(self) -> None:
        cycle: Any = self.cycle
        if not self._is_answering and cycle is not None and not cycle.response_complete:
            self._is_answering = True
            self._end_in(REQUEST_SECONDS)

    def _end_in(self, seconds: float) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = None if self._is_cut else self.loop.call_later(seconds, self.cut)


class Server:
    """A page's server, listening from the start. Installs no signal handlers and writes no log.

    Raises:
        SinkError: If the address cannot be listened on.
    """

    def __init__(self, page: Page, port: int) -> None:
        self._host = page.access.host
        self._socket = _listen(self._host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            site(page, self.port),
            loop="asyncio",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=0,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._work, name="edgecnn-web", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is; for an address that means all networks, with this machine's name."""
        host = socket.gethostname() if self._host in ("0.0.0.0", "::", "") else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def close(self) -> None:
        """End all connections and the thread. A second call does nothing."""
        self._server.should_exit = True
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await self._server.serve([self._socket])
        # Slow visitors hold their connections beyond the end of the server.
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise SinkError(f"the page cannot listen on {host}, port {port}: {error}. Choose another port.") from error
