"""An HTTP webhook: every event is sent as JSON with POST.

``webhook:https://host/path?line=1``: what follows ``webhook:`` is the URL as it is, its query included. A user alone is
a token (``https://${TOKEN}@host/``, sent as ``Authorization: Bearer``), a user with a password is sent as ``Basic``.

Any 2xx answer counts as delivered. No connection, no answer in time, 408, 429 and 5xx are tried again a few times,
then the event is lost; other answers lose it at once. Every try of an event has the same body, the body's ``id`` as
``Edgecnn-Event-Id``, and its number from 1 as ``Edgecnn-Attempt``: a server whose answer did not arrive here can tell
that the event comes again. Redirects are not followed: an event and its token go to the address that was given or
nowhere.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from urllib.parse import quote, urlsplit

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.record import as_record
from edgecnn.runtime.loop.run import Run
from edgecnn.runtime.sinks import Sink, SinkContext

EXAMPLE = "webhook:https://host/path"
ANSWER_SECONDS = 2.0
PAUSES = (0.25, 1.0)
"""Seconds between two tries of one event; there is one try more than pauses."""
_TRY_AGAIN = (408, 429)
_URL_CHARACTERS = "%:/?@!$&'()*+,;=~[]"


def sink(address: Address, context: SinkContext) -> Sink:
    """Return a sink that posts events; see this file's docstring.

    Raises:
        OptionError: If what follows ``webhook:`` is no http or https URL.
    """
    url = urlsplit(address.url.partition(":")[2], allow_fragments=False)
    if url.scheme not in ("http", "https") or not address.host:
        raise OptionError(f"{address}: expected an http:// or https:// URL behind 'webhook:', for example {EXAMPLE}")
    target = quote(f"{url.path or '/'}{'?' if url.query else ''}{url.query}", safe=_URL_CHARACTERS)
    headers = {"Content-Type": "application/json", "User-Agent": "edgecnn"} | _authorization(address)
    tls = ssl.create_default_context() if url.scheme == "https" else None
    port = address.port or (443 if tls else 80)
    return Webhook(str(address), address.host, port, tls, target, headers, context.run)


class Webhook:
    """Posts events."""

    every_turn = False
    images = False

    def __init__(
        self,
        shown: str,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        target: str,
        headers: dict[str, str],
        run: Run,
    ) -> None:
        self._shown, self._host, self._port, self._tls = shown, host, port, tls
        self._target, self._headers, self._run = target, headers, run

    def send(self, observation: Observation) -> None:
        """Post one event, with a few more tries if it fails."""
        record = as_record(observation, self._run)
        body = json.dumps(record, allow_nan=False).encode("ascii")
        headers = self._headers | {"Edgecnn-Event-Id": record["id"]}
        for attempt, pause in enumerate((*PAUSES, None), 1):
            failure = self._failure(body, headers | {"Edgecnn-Attempt": str(attempt)})
            if not failure:
                return
            if pause is None:
                raise SinkError(f"{self._shown}: {failure}. Gave up after {attempt} tries.")
            time.sleep(pause)

    def idle(self) -> None:
        """Do nothing: every event has a connection of its own."""

    def close(self) -> None:
        """Do nothing."""

    def _failure(self, body: bytes, headers: dict[str, str]) -> str:
        """Post once; return why it shall be tried again, empty if it was delivered.

        Raises:
            SinkError: If another try is of no use.
        """
        try:
            status, reason = self._post(body, headers)
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        if 200 <= status < 300:
            return ""
        if status in _TRY_AGAIN or status >= 500:
            return f"answered {status} {reason}"
        hint = " Redirects are not followed: give the address that it leads to." if 300 <= status < 400 else ""
        raise SinkError(f"{self._shown}: answered {status} {reason}, expected 2xx.{hint}")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=ANSWER_SECONDS, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_SECONDS)
        )
        try:
            connection.request("POST", self._target, body, headers)
            response = connection.getresponse()
            response.close()
            return response.status, response.reason
        finally:
            connection.close()


def _authorization(address: Address) -> dict[str, str]:
    if address.username is None:
        return {}
    if address.password is None:
        return {"Authorization": f"Bearer {address.username}"}
    pair = base64.b64encode(f"{address.username}:{address.password}".encode()).decode("ascii")
    return {"Authorization": f"Basic {pair}"}
