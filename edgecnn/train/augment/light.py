"""Light, exposure, focus and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

_NOISE = 16.0
"""Standard deviation of the stored noise; its amplitude is scaled."""
_MARGIN = 64


@dataclass(frozen=True)
class Light:
    """How far the light may differ.

    Attributes:
        gamma: Largest exponent, and one over the smallest.
        contrast: Largest factor, and one over the smallest.
        brightness: Largest shift, in grey values.
        tint: Standard deviation of a shift per channel, in grey values.
        blur: Largest standard deviation of the blur, in pixels.
        noise: Largest standard deviation of the noise, in grey values.
    """

    gamma: float
    contrast: float
    brightness: float
    tint: float
    blur: float
    noise: float


SURFACE = Light(gamma=1.2, contrast=1.2, brightness=18, tint=0, blur=0.7, noise=4)
"""Under a lamp that ages, a lens that gathers dust. Twice as much hides fine defects: see docs/decisions.md."""
ROAD = Light(gamma=1.6, contrast=1.5, brightness=40, tint=10, blur=1.5, noise=10)
"""Sun, rain, dusk."""


class Camera:
    """Changes the light of pictures of one size.

    Args:
        light: How far.
        size: (height, width) of the pictures.
    """

    def __init__(self, light: Light, size: tuple[int, int]) -> None:
        self._light, self._size = light, size
        shape = (2, size[0] + _MARGIN, size[1] + _MARGIN, 3)
        grain = np.random.default_rng(0).normal(0.0, _NOISE, shape)
        self._grain = np.clip(grain, -127, 127).astype(np.int8)

    def __call__(self, rng: np.random.Generator, picture: Image) -> Image:
        """Return a new picture, uint8 (H, W, 3)."""
        light = self._light
        changed = np.asarray(cv2.LUT(picture, self._curves(rng, float(picture.mean()))), np.uint8)
        if rng.random() < 0.3:
            changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.3, light.blur)), np.uint8)
        if rng.random() < 0.5:
            share = rng.uniform(0.1, 1.0) * light.noise / _NOISE
            changed = np.asarray(
                cv2.addWeighted(changed, 1.0, self._grained(rng), share, 0.0, dtype=cv2.CV_8U), np.uint8
            )
        return changed

    def _curves(self, rng: np.random.Generator, level: float) -> Image:
        """Return what becomes of each grey value, uint8 (1, 256, 3)."""
        light = self._light
        values = np.arange(256) / 255.0
        if rng.random() < 0.7:
            values = values ** _factor(rng, light.gamma)
        values = 255.0 * values
        if rng.random() < 0.8:
            values = (values - level) * _factor(rng, light.contrast) + level
            values = values + rng.uniform(-light.brightness, light.brightness)
        shifts = rng.normal(0.0, 1.0, 3) * light.tint
        return np.clip(values[:, None] + shifts, 0, 255).astype(np.uint8)[None]

    def _grained(self, rng: np.random.Generator) -> npt.NDArray[np.int8]:
        kind, top, left = rng.integers(len(self._grain)), rng.integers(_MARGIN), rng.integers(_MARGIN)
        return self._grain[kind, top : top + self._size[0], left : left + self._size[1]]


def _factor(rng: np.random.Generator, most: float) -> float:
    """Return a factor between one over ``most`` and ``most``, as often below 1 as above."""
    return float(np.exp(rng.uniform(-np.log(most), np.log(most))))
