"""The page as a place that verdicts go to: it keeps the newest, and whoever looks gets it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from edgecnn.errors import SinkError
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.sinks import SinkContext, missing
from edgecnn.runtime.web.access import Access
from edgecnn.runtime.web.events import Events
from edgecnn.runtime.web.history import History
from edgecnn.runtime.web.pictures import Live, Picture, Pictures
from edgecnn.runtime.web.state import Cached, state, told

if TYPE_CHECKING:
    from edgecnn.runtime.web.server import Server

STALE_SECONDS = 10.0
"""Without news from the loop for longer, what the page knows is no longer true: a loop has a turn even without frames,
and reading one takes at most `edgecnn.runtime.sources.READ_SECONDS`."""


class Page:
    """A web page that shows what a loop does. A sink: `send` takes every turn, and pictures are made for viewers only.

    Args:
        context: The loop that feeds it.
        host: The address to listen on.
        port: 0 for any that is free.
        token: What visitors must know; None takes it from the environment (`edgecnn.runtime.web.access.VARIABLE`).
            Needed on any address but loopback.

    Raises:
        OptionError: If a token is needed and missing, or too short.
    """

    images = True
    every_turn = True

    def __init__(self, context: SinkContext, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> None:
        self.context = context
        self.access = Access.of(host, token)
        self._port = port
        pictures = Pictures(context.manifest)
        self._live = Live(pictures)
        self._events = Events(pictures, context.manifest.threshold_of, context.parts)
        self._history = History()
        self._shown: float | None = None
        self._state = Cached(self._current)
        self._server: Server | None = None

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises:
            SinkError: If the address is not free, or a package is missing.
        """
        try:
            from edgecnn.runtime.web.server import Server
        except ImportError as error:
            raise missing("web page", "edgecnn[serve]", error) from error
        if self._server is None:
            self._server = Server(self, self._port)

    @property
    def url(self) -> str:
        """Where the page is, without the token.

        Raises:
            SinkError: If it was not started.
        """
        if self._server is None:
            raise SinkError("the page is not served yet: call start() first.")
        return self._server.url

    def show(self, observation: Observation) -> None:
        """Keep the newest observation; compresses a picture only of what is an event, now and then."""
        self._live.show(observation)
        self._shown = time.monotonic()
        self._history.add(observation)
        self._events.show(observation)
        self.idle()

    def send(self, observation: Observation) -> None:
        """Take an observation; the same as `show`."""
        self.show(observation)

    def idle(self) -> None:
        """Go on with the plots."""
        if self._history.is_due():
            self._history.tick(self.context.snapshot().dropped)

    def close(self) -> None:
        """Stop listening and end all connections. A second call does nothing."""
        if self._server is not None:
            self._server.close()

    # What the site asks for, from its own thread.

    def state(self) -> bytes:
        """Return all figures as JSON."""
        return self._state.get()

    def picture(self) -> Picture | None:
        """Return the newest picture, None before the first.

        Raises:
            DataError: If the frame cannot be shown.
        """
        return self._live.picture()

    def told(self, picture: Picture) -> str:
        """Return what was said about a live picture as JSON: a visitor shows both together."""
        return told(picture.observation, self.context.manifest.threshold_of(picture.observation.label))

    def event_picture(self, number: int) -> bytes | None:
        """Return the picture of one of the last events as JPEG, None if there is none."""
        return self._events.picture(number)

    def health(self) -> tuple[bool, bytes]:
        """Return whether news come from the loop, and the same as JSON."""
        silence, snapshot = self._silence(), self.context.snapshot()
        alive = silence is not None and silence <= STALE_SECONDS
        told: dict[str, Any] = {
            "alive": alive,
            "silence": silence,
            "state": snapshot.state,
            "connected": snapshot.connected,
        }
        told["failing"] = [sink.address for sink in snapshot.sinks if sink.failing]
        return alive, json.dumps(told).encode()

    def _silence(self) -> float | None:
        """Return seconds since the last observation, None before the first."""
        return None if self._shown is None else round(time.monotonic() - self._shown, 3)

    def _current(self) -> bytes:
        newest = self._live.newest
        threshold = None if newest is None else self.context.manifest.threshold_of(newest.label)
        return state(self.context, newest, self._silence(), threshold, self._events.all(), self._history.samples())
