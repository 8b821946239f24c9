"""Defects where none was photographed: moved from other parts, drawn, or what does not belong there.

Every function returns a new picture, uint8 (H, W, 3), and where it differs, uint8 (H, W), 0..255.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.vision.synthetic.surfaces import damaged
from edgecnn.vision.synthetic.textures import noise

Image = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]

_HALF = 128
_VISIBLE = 6.0
"""Least mean change, in grey values, by which something foreign is told from the surface."""


def moved(sound: Image, donor: Image, mask: Image) -> tuple[Image, Image]:
    """Put the defect of another part on a sound one, with the sound one's brightness around it.

    Args:
        sound: The picture without a defect.
        donor: The picture with one, uint8 (H, W, 3).
        mask: Where it is, uint8 (H, W).
    """
    grown = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    opacity = (cv2.GaussianBlur(grown, (0, 0), 2.0).astype(np.float32) / 255.0)[..., None]
    ring = cv2.dilate(mask, np.ones((15, 15), np.uint8)) > grown
    around = np.median(donor[ring], axis=0) if ring.any() else donor.mean(axis=(0, 1))
    level = cv2.GaussianBlur(sound, (0, 0), 8.0).astype(np.float32)
    return _blended(sound, donor.astype(np.float32) - around.astype(np.float32) + level, opacity), mask


def drawn(rng: np.random.Generator, sound: Image) -> tuple[Image, Image] | None:
    """Draw a scratch, pit, crack, stain or chip; None where it would not be seen."""
    height, width = sound.shape[:2]
    side = max(height, width)
    grey = cv2.resize(cv2.cvtColor(sound, cv2.COLOR_BGR2GRAY), (side, side)).astype(np.float32) / 255.0
    found = damaged(rng, np.asarray(grey, np.float32))
    if found is None:
        return None
    change = cv2.resize(255.0 * (found[0] - grey), (width, height))
    picture = np.clip(sound.astype(np.float32) + change[..., None], 0, 255).astype(np.uint8)
    return picture, np.asarray(cv2.resize(found[1], (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def foreign(rng: np.random.Generator, sound: Image, other: Image) -> tuple[Image, Image] | None:
    """Let areas show something else: another part turned around, another brightness, out of focus, rough.

    Areas of noise after Zavrtanik et al., DRAEM, ICCV 2021; pieces of the part itself after Li et al., CutPaste,
    CVPR 2021. None where the area looks as before.
    """
    opacity = _area(rng, sound.shape[:2])[..., None]
    base = sound.astype(np.float32)
    kind = int(rng.integers(4))
    if kind == 0:
        turned = np.rot90(other, int(rng.integers(1, 4))) if sound.shape[0] == sound.shape[1] else other[::-1]
        changed = np.roll(turned, rng.integers(8, 64, 2), axis=(0, 1)).astype(np.float32)
    elif kind == 1:
        changed = base * np.float32(rng.uniform(0.5, 1.6)) + np.float32(rng.uniform(-30, 30))
    elif kind == 2:
        blurred = cv2.GaussianBlur(base, (0, 0), rng.uniform(2.0, 6.0)).astype(np.float32)
        changed = blurred + np.float32(rng.uniform(-15, 15))
    else:
        grain = noise(rng, max(sound.shape), (rng.uniform(0, 3), rng.uniform(0, 3)))[: sound.shape[0], : sound.shape[1]]
        changed = base + np.float32(rng.uniform(10, 40)) * grain[..., None]
    picture = _blended(sound, changed, opacity * np.float32(rng.uniform(0.5, 1.0)))
    mask = np.asarray(255.0 * opacity[..., 0], np.uint8)
    inside = mask >= _HALF
    if not inside.any() or np.abs(picture[inside].astype(np.float32) - base[inside]).mean() < _VISIBLE:
        return None
    return picture, mask


def _area(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Return a few smooth blobs in a window, or a rectangle, float32 (H, W) in 0..1."""
    height, width = size
    area = np.zeros(size, np.float32)
    share = np.exp(rng.uniform(np.log(0.08), np.log(0.9), 2))
    high, wide = max(4, int(share[0] * height)), max(4, int(share[1] * width))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    window = area[top : top + high, left : left + wide]
    if rng.random() < 0.3:
        window[:] = 1.0
    else:
        scale = rng.uniform(0.05, 0.25) * max(high, wide)
        field = noise(rng, max(high, wide), (scale, scale))[:high, :wide]
        window[:] = field > rng.uniform(-0.5, 0.8)
    return np.asarray(cv2.GaussianBlur(area, (0, 0), rng.uniform(0.5, 2.0)), np.float32)


def _blended(below: Image, above: Picture, opacity: Picture) -> Image:
    mixed = below.astype(np.float32) * (1.0 - opacity) + above * opacity
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)
