"""A drawn belt under a fixed camera: parts pass, the sensor makes noise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.reference import Reference
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.vision.preprocess import Preprocess

SIZE = 96
RATE = 25.0
FRAME = (480, 480, 3)


def background(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Return float32 (size, size, 3): edges of a few sizes, the same for the same seed."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(-1, 1, (n, n, 3)).astype(np.float32), (size, size)) for n in (5, 12, 32)]
    return 120 + 40 * layers[0] + 25 * layers[1] + 12 * layers[2]


def belt(numbers: Sequence[int], seed: int = 0, size: int = SIZE, moved: int = 0) -> list[np.ndarray]:
    """Return frames by number, uint8 (size, size, 3); the camera may have ``moved`` by some pixels."""
    place = background(seed, size + 32)[:size, moved : moved + size]
    return [_frame(place, number, moved) for number in numbers]


def _frame(place: np.ndarray, number: int, moved: int) -> np.ndarray:
    rng = np.random.default_rng([9, number])
    frame, size = place.copy(), len(place)
    x = number * 3 % (size + 60) - 30 - moved
    cv2.rectangle(frame, (x, size // 3), (x + 24, size // 2), (40, 60, 200), -1)
    return np.clip(frame + rng.normal(0, 1.5, frame.shape), 0, 255).astype(np.uint8)


def learnt(frames: Sequence[np.ndarray], shape: tuple[int, ...] = FRAME, by: Preprocess | None = None) -> Reference:
    """Return what the frames have in common."""
    gatherer = Gatherer(by)
    for frame in frames:
        gatherer.add(frame, shape)
    reference = gatherer.reference()
    assert reference is not None
    return reference


def kinds(
    monitor: Monitor, frames: Sequence[np.ndarray], start: float = 0.0, shape: tuple[int, ...] = FRAME
) -> list[list[str]]:
    """Return the kinds of findings for each frame, at `RATE` frames a second."""
    looked = [monitor.look(frame[None], shape, start + index / RATE) for index, frame in enumerate(frames)]
    return [[finding.kind for finding in findings] for findings in looked]


def only(**settings: object) -> HealthSettings:
    """Return settings with everything off but what is named."""
    off = {"black": False, "saturated": False, "size": False}
    off |= dict.fromkeys(("frozen_seconds", "detail", "shift", "likeness", "light"))
    return HealthSettings(**off | settings)
