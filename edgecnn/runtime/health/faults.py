"""Camera faults of known strength, put into calibration frames: what is found in them would be found in the field.

Strengths are in pixels, grey levels and shares of the camera's own picture. A lens out of focus blurs the scene and not
the sensor's noise, so noise is added again behind the blur: without it every blur would look easy to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.runtime.health.features import noise_level

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        strengths: From faint to strong.
        words: What it is called, with ``{}`` for a strength.
        apply: Returns a frame with it, of the same shape.
    """

    strengths: tuple[float, ...]
    words: str
    apply: Callable[[Image, float], Image]


def _blurred(frame: Image, sigma: float) -> Image:
    level = noise_level(frame)
    return _noisy(np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8).reshape(frame.shape), level)


def _noisy(frame: Image, level: float) -> Image:
    noisy = cv2.add(frame, np.float32(level) * _noise(frame.shape), dtype=cv2.CV_8U)
    return np.asarray(noisy, np.uint8).reshape(frame.shape)


@lru_cache(maxsize=1)
def _noise(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return normal noise of deviation 1: one pattern for all frames, for drawing it takes longer than all the rest."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _lit(frame: Image, share: float) -> Image:
    return np.asarray(cv2.convertScaleAbs(frame, alpha=share), np.uint8).reshape(frame.shape)


def _moved(frame: Image, share: float) -> Image:
    """Move what is seen to the right and half as much down; what comes in mirrors what was there."""
    height, width = frame.shape[:2]
    right, down = round(share * width), round(share * height / 2)
    place = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(frame, place, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8).reshape(frame.shape)


FAULTS: Mapping[str, Fault] = {
    "blur": Fault((1.0, 2.0, 4.0, 8.0), "blur with a sigma of {:g} pixels", _blurred),
    "noise": Fault((6.0, 12.0, 25.0), "noise of {:g} grey levels", _noisy),
    "dark": Fault((0.7, 0.5, 0.25), "{:.0%} of the light", _lit),
    "bright": Fault((1.4, 2.0), "{:.0%} of the light", _lit),
    "movement": Fault((0.05, 0.1, 0.2), "movement by {:.0%} of the picture", _moved),
}
CASES = tuple((name, strength) for name, fault in FAULTS.items() for strength in fault.strengths)
"""Every fault in every strength."""


def least_found(found: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Return from which strength on a fault is found in every frame, None where not even the strongest is.

    Args:
        found: (frames, len(CASES)), at least one frame: whether anything was found.
    """
    always = dict(zip(CASES, np.all(found, axis=0, keepdims=True)[0].tolist(), strict=True))
    least: dict[str, float | None] = {}
    for name, fault in FAULTS.items():
        least[name] = None
        for strength in reversed(fault.strengths):
            if not always.get((name, strength), False):
                break
            least[name] = strength
    return least


def told(least: Mapping[str, float | None]) -> tuple[str, str]:
    """Return in words what is found and what is not, each empty where there is nothing to say."""
    found = [FAULTS[name].words.format(strength) for name, strength in least.items() if strength is not None]
    missed = [FAULTS[name].words.format(FAULTS[name].strengths[-1]) for name, value in least.items() if value is None]
    return "; ".join(found), "; ".join(missed)
