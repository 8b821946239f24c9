"""Observations as pictures for a browser: shrunk, drawn on, compressed, and that only when somebody looks."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.painter import Painter

Image = npt.NDArray[np.uint8]

LARGEST = 960
"""Longer side of a picture in pixels: enough for a phone, and little enough for its network."""
SMALLEST = 480
"""Smaller frames are enlarged at least to about this: text needs the room."""
QUALITY = 80
REST_SECONDS = 0.1
"""Least time between two live pictures, whatever the number of viewers."""


@dataclass(frozen=True)
class Picture:
    """A picture as it is sent: the JPEG, and the observation that it was made of, without frame and tensor."""

    observation: Observation
    jpeg: bytes

    @property
    def number(self) -> int:
        """The observation's number."""
        return self.observation.number


class Pictures:
    """Makes JPEGs of the observations of one bundle."""

    def __init__(self, manifest: Manifest) -> None:
        self._paint = Painter(manifest, LARGEST)

    def jpeg(self, observation: Observation) -> bytes:
        """Return an observation as JPEG; without a frame as a dark picture that says so.

        Raises:
            DataError: If the frame is none that can be shown, or cannot be compressed.
        """
        image = observation.image
        drawn = self._paint(observation if image is None else dataclasses.replace(observation, image=fitted(image)))
        done, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise DataError(f"a picture of shape {drawn.shape} could not be compressed.")
        return data.tobytes()


class Live:
    """The newest observation, and the picture that was made of one lately. For several threads."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._lock = threading.Lock()
        self._newest: Observation | None = None
        self._picture: Picture | None = None
        self._painted = 0.0

    def show(self, observation: Observation) -> None:
        """Keep an observation instead of the one before: costs nothing."""
        self._newest = observation

    @property
    def newest(self) -> Observation | None:
        """The newest observation, None before the first."""
        return self._newest

    def picture(self) -> Picture | None:
        """Return the newest picture, or one at most `REST_SECONDS` old; None before the first.

        Raises:
            DataError: If the frame cannot be shown.
        """
        with self._lock:
            newest = self._newest
            if newest is None or (self._picture and newest.number == self._picture.number):
                return self._picture
            if self._picture is None or time.monotonic() - self._painted >= REST_SECONDS:
                self._painted = time.monotonic()
                without = dataclasses.replace(newest, image=None, tensor=None, memory=None)
                self._picture = Picture(without, self._pictures.jpeg(newest))
            return self._picture


def fitted(image: Image) -> Image:
    """Return a frame with its longer side between about `SMALLEST` and `LARGEST` pixels; of many channels the first."""
    if image.ndim == 3 and image.shape[2] != 3:
        image = np.ascontiguousarray(image[:, :, 0])
    height, width = image.shape[:2]
    longest = max(height, width)
    factor = LARGEST / longest if longest > LARGEST else max(1, SMALLEST // longest)
    if factor == 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
