"""A cable between a client and a server on loopback that can be bad."""

from __future__ import annotations

import random
import select
import socket
import threading
from contextlib import suppress

_CHUNK = 1 << 14


class Proxy:
    """Passes TCP connections on to a port. A context manager.

    Attributes:
        mode: ``ok``; ``stall`` (nothing passes, nothing is lost); ``garbage`` (bytes of what the server sends are
            changed).
        port: Where it listens.
    """

    def __init__(self, target: int, rate: float = 0.002) -> None:
        self.mode, self._target, self._rate = "ok", target, rate
        self._random = random.Random(0)
        self._stopping = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.1)
        self.port = int(self._server.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        """Close every connection and the port."""
        self._stopping.set()
        for thread in list(self._threads):
            thread.join(5)
        self._server.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                client = self._server.accept()[0]
                thread = threading.Thread(target=self._serve, args=(client,))
                thread.start()
                self._threads.append(thread)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target), 5) as server:
            while not self._stopping.is_set():
                if self.mode == "stall":
                    self._stopping.wait(0.02)
                    continue
                for readable in select.select([client, server], [], [], 0.1)[0]:
                    data = readable.recv(_CHUNK)
                    if not data:
                        return
                    if readable is server:
                        client.sendall(self._damaged(data))
                    else:
                        server.sendall(data)

    def _damaged(self, data: bytes) -> bytes:
        if self.mode != "garbage":
            return data
        changed = bytearray(data)
        for place in range(len(data)):
            if self._random.random() < self._rate:
                changed[place] = self._random.randrange(256)
        return bytes(changed)
