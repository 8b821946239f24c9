"""USB and other V4L2 cameras: ``0``, ``/dev/video0``, ``/dev/v4l/by-id/...``, ``camera:0?size=1280x720&format=MJPG``.

Numbers are given in the order in which cameras are found, so after a reboot ``0`` may be another camera. The links in
``/dev/v4l/by-id`` name the camera itself, those in ``/dev/v4l/by-path`` the socket it is plugged into.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import READ_SECONDS, Frame
from edgecnn.runtime.sources._options import size_option

LIVE = True
EXAMPLE = "camera:0"
DEVICES = Path("/dev")
BUFFERS = 2
"""Frames that the driver holds: one being filled, one to be read. More would make every frame older."""
_TIMEOUT_VARIABLE = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"
"""Whole seconds after which OpenCV gives up waiting for a frame; 10 if not set. It is read at the first wait."""


def source(address: Address) -> Camera:
    """Return a camera by number, device or link. Options: ``size`` (WxH), ``fps``, ``format`` (4 letters: ``MJPG``)."""
    options = address.options()
    name = address.path
    size, fps = size_option(options), options.number("fps", 0, 0, 1000)
    code = options.text("format")
    options.done()
    if not name.isdecimal() and not name.startswith("/"):
        raise OptionError(f"{address}: expected a camera's number or its device, for example {EXAMPLE}.")
    if code and (len(code) != 4 or not code.isascii()):
        raise OptionError(f"{address}: format is four letters, for example MJPG or YUYV; got '{code}'.")
    return Camera(str(address), Path(f"{DEVICES}/video{name}" if name.isdecimal() else name), size, fps, code)


class Camera:
    """A V4L2 camera.

    A driver that hangs inside the kernel can block `read` for ever, and nobody can interrupt it: whoever reads must
    be able to leave that thread behind.

    Args:
        name: What to call it in messages.
        device: Its device, or a link to it.
        size: (width, height) to ask for, None for what the driver gives. Drivers may choose the nearest.
        fps: Frames per second to ask for, 0 for what the driver gives.
        code: Four letters of the pixel format to ask for, empty for what the driver gives.
    """

    def __init__(
        self, name: str, device: Path, size: tuple[int, int] | None = None, fps: float = 0.0, code: str = ""
    ) -> None:
        self._name, self._device = name, device
        self._size, self._fps, self._code = size, fps, code
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Open the device; see `Source`."""
        self.close()
        if not self._device.exists():
            raise SourceError(f"{self._name}: there is no {self._device}. {_advice(devices())}")
        os.environ.setdefault(_TIMEOUT_VARIABLE, str(math.floor(READ_SECONDS)))
        capture = cv2.VideoCapture(os.path.realpath(self._device), cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f"{self._name}: {self._device} is there, but cannot be opened as a camera. Does another program use it "
                f"(fuser {self._device})? Is this user in the group 'video'? {_advice(devices())}"
            )
        self._configure(capture)
        self._capture = capture

    def read(self) -> Frame:
        """Return the next frame; see `Source`."""
        if self._capture is None:
            raise SourceError(f"{self._name}: not open.")
        # A new array each time: the driver's buffer is not handed out.
        read, image = self._capture.read()
        if not read or image is None:
            raise SourceError(f"{self._name}: no frame within {READ_SECONDS:g} s: unplugged, or the driver hangs.")
        return Frame(image.astype(np.uint8, copy=False))

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _configure(self, capture: cv2.VideoCapture) -> None:
        """Ask the driver for what was wished. The format comes first: sizes and rates depend on it."""
        if self._code:
            capture.set(cv2.CAP_PROP_FOURCC, int.from_bytes(self._code.encode(), "little"))
        if self._size:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        if self._fps:
            capture.set(cv2.CAP_PROP_FPS, self._fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)


def devices(root: Path = DEVICES) -> list[str]:
    """Return the cameras below ``root``: each device with its stable link where it has one, in numerical order."""
    links = {os.path.realpath(link): link for link in sorted((root / "v4l/by-id").glob("*"), reverse=True)}
    found = [path for path in root.glob("video*") if path.name[5:].isdecimal()]
    stable = {path: links.get(os.path.realpath(path)) for path in found}
    return [
        f"{path} ({stable[path]})" if stable[path] else str(path)
        for path in sorted(found, key=lambda path: int(path.name[5:]))
    ]


def _advice(found: list[str]) -> str:
    """Say which cameras there are."""
    if not found:
        return "No camera was found at all: is it plugged in, and does 'lsusb' list it?"
    return f"There are: {', '.join(found)}. Prefer the links in /dev/v4l/by-id: numbers change with every reboot."
