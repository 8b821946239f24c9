"""Cameras on a Raspberry Pi's ribbon connector, by picamera2: ``csi://0``, ``csi://0?size=1280x720&fps=30``.

picamera2 comes with Raspberry Pi OS (``sudo apt install python3-picamera2``); a virtual environment sees it if it was
made with ``--system-site-packages``.
"""

from __future__ import annotations

import importlib
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from typing import Any

import numpy as np

from edgecnn.errors import MissingSourceError, OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import READ_SECONDS, Frame
from edgecnn.runtime.sources._options import size_option

LIVE = True
EXAMPLE = "csi://0"
DEFAULT_SIZE = (1280, 720)


def source(address: Address) -> CsiCamera:
    """Return a camera by its number. Options: ``size`` (WxH), ``fps``."""
    options = address.options()
    number = address.host or address.path or "0"
    size, fps = size_option(options) or DEFAULT_SIZE, options.number("fps", 0, 0, 1000)
    options.done()
    if not number.isdecimal():
        raise OptionError(f"{address}: expected a camera's number, for example {EXAMPLE}.")
    return CsiCamera(str(address), int(number), size, fps)


class CsiCamera:
    """A camera that picamera2 drives.

    Args:
        name: What to call it in messages.
        number: Its number, as ``rpicam-hello --list-cameras`` shows it.
        size: (width, height) that the image processor scales to.
        fps: Frames per second to ask for, 0 for what the sensor's mode gives.
    """

    def __init__(self, name: str, number: int, size: tuple[int, int], fps: float = 0.0) -> None:
        self._name, self._number, self._size, self._fps = name, number, size, fps
        self._camera: Any = None

    def open(self) -> None:
        """Configure and start the camera; see `Source`."""
        self.close()
        try:
            library = importlib.import_module("picamera2")
        # ValueError: Debian's picamera2 is built for Debian's numpy, and another one was installed over it.
        except (ImportError, ValueError) as error:
            raise MissingSourceError(
                f"{self._name}: a CSI camera needs picamera2, which cannot be imported ({error}). Install it: sudo apt "
                "install python3-picamera2; a virtual environment must be made with --system-site-packages, and keep "
                "the system's major version of numpy (pip install 'numpy<2' on Debian 12)."
            ) from error
        try:
            self._camera = library.Picamera2(self._number)
            self._start()
        except (IndexError, RuntimeError, ValueError) as error:
            self.close()
            raise SourceError(
                f"{self._name}: camera {self._number} cannot be opened ({error}). 'rpicam-hello --list-cameras' shows "
                "what is connected; only one program at a time can use a camera."
            ) from error

    def read(self) -> Frame:
        """Return the next frame; see `Source`."""
        if self._camera is None:
            raise SourceError(f"{self._name}: not open.")
        try:
            image = self._camera.wait(self._camera.capture_array("main", wait=False), timeout=READ_SECONDS)
        except (TimeoutError, NotInTime, RuntimeError) as error:
            raise SourceError(f"{self._name}: no frame within {READ_SECONDS:g} s. Is the cable in place?") from error
        return Frame(np.ascontiguousarray(image, np.uint8))

    def close(self) -> None:
        """Stop the camera and give it back."""
        camera, self._camera = self._camera, None
        if camera is not None:
            with suppress(RuntimeError):
                camera.stop()
            with suppress(RuntimeError):
                camera.close()

    def _start(self) -> None:
        # libcamera names formats by their bits from the highest down: "RGB888" lies in memory as B, G, R.
        stream = {"size": self._size, "format": "RGB888"}
        controls = {"FrameRate": self._fps} if self._fps else {}
        # With a queue of one the newest finished frame is given, at most one frame old, at the sensor's full rate.
        self._camera.configure(self._camera.create_video_configuration(main=stream, controls=controls, queue=True))
        self._camera.start()
