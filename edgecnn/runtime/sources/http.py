"""HTTP cameras: a stream of pictures (MJPEG), or one picture an address gives again and again (a snapshot).

``http://user:${CAMERA_PASSWORD}@192.168.1.20/video.mjpg``; what stands behind ``?`` belongs to the camera, but for
``ca`` of an ``https:`` address: a file with the certificate that it is signed by, or with its own.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import ssl
import time
from urllib.parse import urljoin

from edgecnn.errors import DataError, OptionError, SourceError
from edgecnn.runtime.address import Address, redacted
from edgecnn.runtime.sources import OPEN_SECONDS, READ_SECONDS, Frame, NoFrame
from edgecnn.runtime.sources._login import Login
from edgecnn.runtime.sources._pictures import PictureSplitter
from edgecnn.vision.read import decode_image

LIVE = True
EXAMPLE = "http://192.168.1.20/video.mjpg"
SNAPSHOT_SECONDS = 0.1
"""Least time between two snapshots: a camera's small processor has more to do than to answer us."""
_CHUNK = 1 << 16
_CATCH_UP = 256
"""Chunks read at most to get from a backlog to its newest picture."""
_STALLED_SECONDS = 0.5
"""Silence behind which the first pictures have waited on the way, and are old."""
_PAUSE_SECONDS, _SETTLE_SECONDS = 0.025, 0.5
"""Those come without pauses as long as this: a pause, or at the latest so much time, ends them."""


def source(address: Address) -> HttpStream:
    """Return a camera, connected to nothing yet."""
    if not address.host:
        raise OptionError(f"{address}: expected a host, for example {EXAMPLE}.")
    if address.scheme != "https":
        return HttpStream(address)
    return HttpStream(address, _trusting(address))


def _trusting(address: Address) -> ssl.SSLContext:
    """Return what a camera's certificate is checked with.

    Raises:
        OptionError: If the file of ``ca`` holds no certificates.
    """
    try:
        return ssl.create_default_context(cafile=address.query.get("ca"))
    except OSError as error:
        raise OptionError(f"{address}: '{address.query['ca']}' is no file of certificates: {error}.") from error


class HttpStream:
    """A camera that speaks HTTP.

    Looking up the host's name is the one step that has no time-out of its own.

    Args:
        address: Where it is; user name and password are sent, and shown nowhere.
        tls: What its certificate is checked with, None for no encryption.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None) -> None:
        self._address, self._tls, self._login = address, tls, Login(address)
        self._target = address.target(["ca"] if tls else [])
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None
        self._splitter = PictureSplitter(str(address))
        self._is_snapshot = False
        self._asked = self._heard = 0.0

    def open(self) -> None:
        """Connect, and see what is sent; see `Source`."""
        self.close()
        self._splitter = PictureSplitter(str(self._address))
        try:
            self._request(OPEN_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SourceError(f"{self._address}: cannot be opened: {_reason(error)}.") from None

    def read(self) -> Frame | NoFrame:
        """Return the newest frame that has arrived, or wait for one; see `Source`."""
        deadline = time.monotonic() + READ_SECONDS
        try:
            picture = self._newest(deadline)
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"{self._address}: the stream broke off: {_reason(error)}.") from None
        try:
            return Frame(decode_image(picture, str(self._address)))
        except DataError as error:
            return NoFrame(str(error))

    def close(self) -> None:
        """Disconnect."""
        self._is_snapshot = False
        self._disconnect()

    def _disconnect(self) -> None:
        for closing in (self._response, self._connection):
            if closing is not None:
                closing.close()
        self._response = self._connection = self._socket = None

    def _request(self, seconds: float) -> None:
        """Connect, send the request, read the answer's head; say who we are if the camera asks for it."""
        self._asked = self._heard = time.monotonic()
        deadline = self._asked + seconds
        response = self._exchange(deadline)
        if response.status == http.client.UNAUTHORIZED and self._login.learn(_challenges(response)):
            self._disconnect()
            response = self._exchange(deadline)
        self._check(response)

    def _exchange(self, deadline: float) -> http.client.HTTPResponse:
        """Connect, send a request, return the answer's head."""
        host, port, left = self._address.host, self._address.port, _left(deadline)
        if self._tls is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=left)
        else:
            self._connection = http.client.HTTPSConnection(host, port, timeout=left, context=self._tls)
        self._connection.connect()
        self._socket = self._connection.sock
        self._socket.settimeout(_left(deadline))
        self._connection.request("GET", self._target, headers=self._login.headers(self._target))
        self._response = self._connection.getresponse()
        return self._response

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Refuse what is no picture.

        Raises:
            SourceError: If the camera refused, sent us elsewhere, or sends something else.
        """
        status = response.status
        if status != http.client.OK:
            remedy = self._remedy(response)
            self.close()
            raise SourceError(f"{self._address}: the camera answered {status} {response.reason}.{remedy}")
        is_snapshot = _is_snapshot(response)
        if is_snapshot is None:
            self.close()
            kind = response.headers.get_content_type()
            raise SourceError(
                f"{self._address}: expected MJPEG or a picture, got {kind}. Is the path the stream's own?"
            )
        self._is_snapshot = is_snapshot

    def _remedy(self, response: http.client.HTTPResponse) -> str:
        """Say what to do about an answer that is no success."""
        if location := response.headers.get("Location"):
            return f" It sends us to {redacted(urljoin(self._address.url, location))}: give that address."
        if response.status != http.client.UNAUTHORIZED:
            return ""
        challenges = _challenges(response)
        if self._login.headers(self._target):
            return " It does not take this user name and password."
        if self._login.is_known:
            asked = ", ".join(text.partition(" ")[0] for text in challenges)
            return f" It asks for {asked}; Digest (MD5, SHA-256) and Basic authentication can be answered."
        return " Give its user and password in front of the host: USER:${CAMERA_PASSWORD}@HOST."

    def _newest(self, deadline: float) -> bytes:
        """Read until there is a picture, then on while more is waiting, and return the newest."""
        settled = 0.0
        while (picture := self._splitter.take_newest()) is None:
            before = self._heard
            self._receive(deadline)
            if self._heard - before > _STALLED_SECONDS:
                settled = self._heard + _SETTLE_SECONDS
        for _ in range(_CATCH_UP):
            if not self._is_waiting(_PAUSE_SECONDS if time.monotonic() < settled else 0.0):
                break
            self._receive(deadline)
            picture = self._splitter.take_newest() or picture
        return picture

    def _receive(self, deadline: float) -> None:
        """Read what has arrived, or wait for it; at the end of a snapshot ask for the next.

        Raises:
            SourceError: If nothing comes in time, or the stream has ended.
        """
        if self._response is None and self._is_snapshot:
            time.sleep(max(0.0, self._asked + SNAPSHOT_SECONDS - time.monotonic()))
            self._request(min(OPEN_SECONDS, _left(deadline)))
        if self._response is None or self._socket is None:
            raise SourceError(f"{self._address}: not open.")
        self._socket.settimeout(_left(deadline))
        data = self._response.read1(_CHUNK)
        self._heard = time.monotonic()
        if data:
            self._splitter.feed(data)
        elif self._is_snapshot:
            self._disconnect()
        else:
            raise SourceError(f"{self._address}: the camera ended the stream.")

    def _is_waiting(self, seconds: float) -> bool:
        """Tell whether more of a stream has arrived already, or does within so many seconds."""
        if self._is_snapshot or self._socket is None:
            return False
        return bool(select.select([self._socket], [], [], seconds)[0])


def _challenges(response: http.client.HTTPResponse) -> list[str]:
    """Return how a camera may be told who asks; it may say so in several lines, or several in one."""
    lines = response.headers.get_all("WWW-Authenticate", [])
    return [text for line in lines for text in re.split(r",\s*(?=(?:Digest|Basic)\s)", line, flags=re.IGNORECASE)]


def _is_snapshot(response: http.client.HTTPResponse) -> bool | None:
    """Tell whether the answer is one picture, and not a stream of them; None if it is neither.

    What cameras call their streams: ``multipart/x-mixed-replace`` and ``multipart/mixed``, ``video/x-motion-jpeg`` and
    the like, ``application/octet-stream``, or nothing at all. What has a length is one picture then.
    """
    kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
    if kind.startswith("image/"):
        return True
    if kind.startswith("multipart/") or (kind.startswith("video/") and "jp" in kind):
        return False
    return response.length is not None if kind in ("", "application/octet-stream") else None


def _left(deadline: float) -> float:
    """Return the seconds until the deadline, for a socket.

    Raises:
        TimeoutError: If there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _reason(error: Exception) -> str:
    """Return what went wrong, in words where the library has only a type."""
    if isinstance(error, TimeoutError):
        return f"nothing came in time (opening {OPEN_SECONDS:g} s, reading {READ_SECONDS:g} s)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}; ca=FILE in the address names the certificate that signs it, or its own"
    return redacted(str(error)) or type(error).__name__
