"""Observations as pictures for people: the frame with the verdict drawn on it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.manifest import Manifest
from edgecnn.runtime.loop.observation import Observation
from edgecnn.vision.draw import overlay
from edgecnn.vision.preprocess import Preprocess

Image = npt.NDArray[np.uint8]

_NO_FRAME = (360, 640, 3)
_DARK = 40


class Painter:
    """Draws observations of one bundle.

    Args:
        manifest: The bundle's contract.
        width: Wider frames are shown at this width, in pixels.
    """

    def __init__(self, manifest: Manifest, width: int) -> None:
        self._preprocess, self._threshold_of = Preprocess.for_input(manifest.input), manifest.threshold_of
        self._width = width

    def __call__(self, observation: Observation) -> Image:
        """Return uint8 (H, W, 3) BGR; without a frame a dark picture that says why.

        Raises:
            DataError: If the frame is none that can be shown.
        """
        frame = observation.image
        picture = np.full(_NO_FRAME, _DARK, np.uint8) if frame is None else self._fitted(frame)
        label = observation.label
        return overlay(
            picture,
            observation.verdict,
            None if observation.result is None else observation.result.decision,
            observation.findings,
            geometry=None if frame is None else self._preprocess.geometry(*frame.shape[:2]),
            threshold=None if label is None else self._threshold_of(label),
        )

    def _fitted(self, frame: Image) -> Image:
        # Of frames with many channels the first is shown.
        frame = frame if frame.ndim == 2 or frame.shape[2] in (1, 3) else np.ascontiguousarray(frame[:, :, 0])
        height, width = frame.shape[:2]
        if width <= self._width:
            return frame
        size = (self._width, max(1, round(height * self._width / width)))
        return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
