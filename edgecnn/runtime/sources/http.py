"""HTTP cameras: MJPEG (``multipart/x-mixed-replace``), or one JPEG an address gives again and again (a snapshot).

``http://user:${CAMERA_PASSWORD}@192.168.1.20/video.mjpg``; what stands behind ``?`` belongs to the camera.
"""

from __future__ import annotations

import base64
import http.client
import select
import socket
import time
from urllib.parse import urljoin

from edgecnn.errors import DataError, OptionError, SourceError
from edgecnn.runtime.address import Address, redacted
from edgecnn.runtime.sources import OPEN_SECONDS, READ_SECONDS, Frame, NoFrame
from edgecnn.runtime.sources._jpegs import JpegSplitter
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
    return HttpStream(address)


class HttpStream:
    """A camera that speaks HTTP.

    Looking up the host's name is the one step that has no time-out of its own.

    Args:
        address: Where it is; user name and password are sent (HTTP Basic), and shown nowhere.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None
        self._splitter = JpegSplitter(str(address))
        self._is_snapshot = False
        self._asked = self._heard = 0.0

    def open(self) -> None:
        """Connect, and see what is sent; see `Source`."""
        self.close()
        self._splitter = JpegSplitter(str(self._address))
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
        """Connect, send the request, read the answer's head."""
        self._asked = self._heard = time.monotonic()
        deadline = self._asked + seconds
        kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(self._address.host, self._address.port, timeout=seconds)
        self._connection.connect()
        self._socket = self._connection.sock
        self._socket.settimeout(_left(deadline))
        self._connection.request("GET", self._address.target, headers=self._headers())
        self._response = self._connection.getresponse()
        self._check(self._response)

    def _headers(self) -> dict[str, str]:
        username, password = self._address.username, self._address.password
        if username is None and password is None:
            return {}
        pair = f"{username or ''}:{password or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Refuse what is no picture.

        Raises:
            SourceError: If the camera refused, sent us elsewhere, or sends something else.
        """
        status, kind = response.status, response.headers.get_content_type()
        if status != http.client.OK:
            self.close()
            raise SourceError(
                f"{self._address}: the camera answered {status} {response.reason}.{self._remedy(response)}"
            )
        if kind != "multipart/x-mixed-replace" and not kind.startswith("image/"):
            self.close()
            raise SourceError(f"{self._address}: expected MJPEG or a JPEG, got {kind}. Is the path the stream's own?")
        self._is_snapshot = kind.startswith("image/")

    def _remedy(self, response: http.client.HTTPResponse) -> str:
        """Say what to do about an answer that is no success."""
        if location := response.headers.get("Location"):
            return f" It sends us to {redacted(urljoin(self._address.url, location))}: give that address."
        if response.status != http.client.UNAUTHORIZED:
            return ""
        if response.headers.get("WWW-Authenticate", "").lower().startswith("digest"):
            return " It asks for Digest authentication: set it to Basic, or use its RTSP stream."
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
    return redacted(str(error)) or type(error).__name__
