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
"""Connections at a time. A browser opens up to six; more than these are cut: cameras and sinks need descriptors too."""
REQUEST_SECONDS = 20.0
"""Longest that a visitor may take to ask and to fetch the answer; then the connection is cut."""
IDLE_SECONDS = 5
CLOSE_SECONDS = 2.0


class Connection(H11Protocol):
    """One visitor's connection: one of at most `CONNECTIONS`, cut if nothing was served for `REQUEST_SECONDS`."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or cut it at once."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._postpone()

    def on_response_complete(self) -> None:
        """Give the next request its time."""
        self._postpone()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def _postpone(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)


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
