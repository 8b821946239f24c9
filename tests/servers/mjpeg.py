"""An MJPEG camera over HTTP on loopback that can be told to misbehave. Standard library and OpenCV."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
BOUNDARY = "frame-boundary"
NOISE = bytes(np.random.default_rng(0).integers(0, 250, 1 << 20, np.uint8))


def counting_frame(number: int, size: tuple[int, int] = (320, 240)) -> Image:
    """A grey picture whose brightness says its number: 10 * (number % 20) + 20."""
    return np.full((size[1], size[0], 3), 10 * (number % 20) + 20, np.uint8)


class MjpegServer:
    """A camera at ``url`` (stream) and ``url_of("/snapshot.jpg")``. A context manager.

    Attributes:
        mode: ``ok``; ``freeze`` (connected, no data); ``trickle`` (a byte now and then); ``garbage`` (between the
            pictures); ``damaged`` (pictures cut in half); ``noise`` (nothing but random bytes); ``endless`` (a picture
            that never ends); ``close`` (ends every stream).
        size: (width, height) of the frames; may be changed at any time.
        lengths: Whether parts say their Content-Length.
        fps: Frames per second.
        user: ``"name:password"`` that is asked for, empty for none.
        scheme: How it is asked for: ``"Basic"``, or ``"MD5"``, ``"SHA-256"``, ``"MD5-sess"`` or another word.
        nonce: Of Digest; another one makes those of before stale.
        kind: Content-Type of the stream; empty for none.
        coding: How pictures are encoded: ``".jpg"`` or ``".png"``.
        asked: Targets of all requests, with how they said who asks.
        redirect: Where requests are sent to instead of being answered, empty for nowhere.
        frame: Makes frame number i; may be replaced.
        connections: How many streams were opened.
        streams: How many are open now.
    """

    def __init__(
        self,
        port: int = 0,
        fps: float = 50.0,
        user: str = "",
        lengths: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.mode, self.size, self.lengths, self.fps, self.user = "ok", (320, 240), lengths, fps, user
        self.frame: Callable[[int], Image] = lambda number: counting_frame(number, self.size)
        self.redirect, self.scheme, self.nonce = "", "Basic", "nonce-0"
        self.kind, self.coding = f"multipart/x-mixed-replace; boundary={BOUNDARY}", ".jpg"
        self.asked: list[tuple[str, str]] = []
        self._is_https = tls is not None
        self.connections = self.streams = 0
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._server.block_on_close = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return self.url_of("/video.mjpg")

    def url_of(self, path: str) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"http{'s' if self._is_https else ''}://{user}127.0.0.1:{self.port}{path}"

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep; True if the server is stopping."""
        return self._stopping.wait(seconds)

    def stop(self) -> None:
        """Close every connection and the port."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> MjpegServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def encoded(frame: Image, coding: str = ".jpg") -> bytes:
    return cv2.imencode(coding, frame)[1].tobytes()


def _hashed(algorithm: str, *parts: str) -> str:
    return hashlib.new("sha256" if algorithm.startswith("SHA-256") else "md5", ":".join(parts).encode()).hexdigest()


def _is_digest(camera: MjpegServer, target: str, given: str) -> bool:
    """Tell whether a Digest is right; what was said twice is not."""
    said = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', given)}
    if said.get("nonce") != camera.nonce or said.get("uri") != target:
        return False
    name, _, password = camera.user.partition(":")
    secret = _hashed(camera.scheme, name, "camera", password)
    if camera.scheme.endswith("-sess"):
        secret = _hashed(camera.scheme, secret, camera.nonce, said["cnonce"])
    asked = _hashed(camera.scheme, "GET", target)
    proof = _hashed(camera.scheme, secret, camera.nonce, said["nc"], said["cnonce"], "auth", asked)
    return said["username"] == name and said["response"] == proof


def _handler(camera: MjpegServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0
        has_begun = False

        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            camera.asked.append((self.path, given.partition(" ")[0]))
            if camera.user and not self._is_known(given):
                self.send_response(401)
                self.send_header("WWW-Authenticate", self._challenge())
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif camera.redirect:
                self.send_response(302)
                self.send_header("Location", camera.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/snapshot.jpg"):
                self._snapshot()
            elif self.path.startswith("/video.mjpg"):
                camera.streams += 1
                with suppress(OSError):
                    self._stream()
                camera.streams -= 1
            else:
                self.send_error(404)

        def _is_known(self, given: str) -> bool:
            if camera.scheme == "Basic":
                return given == f"Basic {b64encode(camera.user.encode()).decode()}"
            return given.startswith("Digest ") and _is_digest(camera, self.path, given)

        def _challenge(self) -> str:
            if camera.scheme in ("Basic", "NTLM"):
                return f'{camera.scheme} realm="camera"'
            values = f'realm="camera", nonce="{camera.nonce}", algorithm={camera.scheme}, qop="auth,auth-int"'
            return f"Digest {values}"

        def _snapshot(self) -> None:
            camera.connections += 1
            data = encoded(camera.frame(camera.connections), camera.coding)
            self.send_response(200)
            kind = camera.kind if not camera.kind.startswith("multipart/") else "image/jpeg"
            if kind:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self) -> None:
            camera.connections += 1
            self.send_response(200)
            if camera.kind:
                self.send_header("Content-Type", camera.kind)
            self.end_headers()
            number, due = 0, time.monotonic()
            while not camera.stopping and camera.mode != "close":
                number += 1
                self._part(number)
                due = max(due + 1.0 / camera.fps, time.monotonic() - 1.0)
                camera.wait(max(0.0, due - time.monotonic()))

        def _part(self, number: int) -> None:
            if camera.mode == "freeze":
                return
            if camera.mode == "trickle":
                self.wfile.write(b"x")
                return
            if camera.mode in ("noise", "endless"):
                # Without 0xff no byte is a marker: once begun, the picture never ends.
                start = b"" if self.has_begun or camera.mode == "noise" else b"\xff\xd8\xff\xda\x00\x02"
                self.has_begun = True
                self.wfile.write(start + NOISE)
                return
            data = encoded(camera.frame(number), camera.coding)
            if camera.mode == "damaged":
                data = data[: len(data) // 2]
            if camera.mode == "garbage":
                self.wfile.write(b"\x00garbage\xff\xfe\r\n\xff\xd8 not a picture\r\n")
            length = f"Content-Length: {len(data)}\r\n" if camera.lengths else ""
            self.wfile.write(f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
