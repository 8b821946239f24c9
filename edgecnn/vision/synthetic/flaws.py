"""Procedural defects: scratches, pits, cracks, stains, edge chips.

Each function returns a `Flaw`: how opaque it is, float32 (size, size) in 0..1, and its relief, what it adds to the
brightness in units of its contrast, float32 (size, size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.vision.synthetic.textures import Picture, noise

Points = npt.NDArray[np.float64]
SUBPIXEL = 4
"""Fractional bits of the coordinates that OpenCV draws with."""


@dataclass(frozen=True)
class Flaw:
    """One defect before it is put on a surface.

    Attributes:
        opacity: float32 (size, size) in 0..1; the label mask is where it exceeds one third.
        relief: float32 (size, size), multiplied by the contrast and added to the picture.
    """

    opacity: Picture
    relief: Picture


Maker = Callable[[np.random.Generator, int], Flaw]


def scratch(rng: np.random.Generator, size: int) -> Flaw:
    """Return a nearly straight thin line, dark or bright, that fades along its length."""
    points = _arc(rng, size, rng.uniform(0.15, 0.9) * size)
    opacity = _stroke(points, size, int(rng.integers(1, 3)), closed=False)
    fade = np.clip(0.8 + 0.3 * noise(rng, size, (12.0, 12.0)), 0.4, 1.0)
    return _shaded(rng, np.asarray(opacity * fade, np.float32), dark=0.5)


def pit(rng: np.random.Generator, size: int) -> Flaw:
    """Return one to three dark holes, round to oblong, some with a bright rim on one side."""
    opacity = np.zeros((size, size), np.float32)
    rim = np.zeros((size, size), np.float32)
    centre = rng.uniform(0.06, 0.94, 2) * size
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        radii = np.exp(rng.uniform(np.log(1.6), np.log(0.06 * size))) * np.array([1.0, rng.uniform(0.35, 1.0)])
        place = centre + rng.normal(0.0, 0.04 * size, 2)
        outline = _ellipse(place, radii, rng.uniform(0.0, np.pi)) + rng.normal(0.0, 0.08 * radii.mean(), (24, 2))
        hole = _fill(outline, size)
        opacity = np.maximum(opacity, hole)
        shift = np.array([[1, 0, rng.uniform(-1.5, 1.5)], [0, 1, rng.uniform(-1.5, 1.5)]], np.float32)
        rim = np.maximum(rim, cv2.warpAffine(hole, shift, (size, size)) - hole)
    flaw = _shaded(rng, opacity, dark=0.85)
    return Flaw(flaw.opacity, np.asarray(flaw.relief + rng.uniform(0.0, 0.6) * np.maximum(rim, 0.0), np.float32))


def crack(rng: np.random.Generator, size: int) -> Flaw:
    """Return a jagged thin dark line, some with a branch."""
    points = _walk(rng, rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.0, 2 * np.pi), rng.uniform(0.15, 0.7) * size)
    opacity = _stroke(points, size, int(rng.integers(1, 3)), closed=False)
    if rng.random() < 0.4:
        start = points[int(rng.integers(len(points)))]
        branch = _walk(rng, start, rng.uniform(0.0, 2 * np.pi), rng.uniform(0.08, 0.3) * size)
        opacity = np.maximum(opacity, _stroke(branch, size, 1, closed=False))
    return _shaded(rng, opacity, dark=0.9)


def stain(rng: np.random.Generator, size: int) -> Flaw:
    """Return a patch with a clear outline, darker or brighter, some with texture of their own."""
    centre, radius = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.06, 0.28) * size
    angles = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    wobble = sum(rng.normal(0.0, 0.25 / k) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in range(1, 6))
    reach = radius * np.clip(1.0 + wobble, 0.3, 2.0)
    stretch = np.array([1.0, rng.uniform(0.35, 1.0)])[rng.permutation(2)]
    outline = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] * stretch
    opacity = cv2.GaussianBlur(_fill(outline, size), (0, 0), rng.uniform(0.4, 2.0))
    flaw = _shaded(rng, opacity.astype(np.float32), dark=0.7)
    grain = rng.uniform(0.0, 0.5) * noise(rng, size, (1.0, 1.0)) * flaw.opacity
    return Flaw(flaw.opacity, np.asarray(flaw.relief + grain, np.float32))


def chip(rng: np.random.Generator, size: int) -> Flaw:
    """Return a jagged bite out of the border of the picture."""
    depth, width = rng.uniform(0.04, 0.18) * size, rng.uniform(0.06, 0.3) * size
    along = np.sort(rng.uniform(-width, width, 12))
    inward = depth * np.sqrt(np.maximum(1.0 - (along / width) ** 2, 0.0)) + rng.normal(0.0, 0.12 * depth, 12)
    bite = np.stack([along, np.maximum(inward, 0.5)], 1)
    outline = np.concatenate([[[-width, -4.0]], bite, [[width, -4.0]]])
    outline[:, 0] += rng.uniform(0.1, 0.9) * size
    opacity = np.rot90(_fill(outline, size), int(rng.integers(4)))
    return _shaded(rng, np.ascontiguousarray(opacity), dark=0.8)


FLAWS: tuple[Maker, ...] = (scratch, pit, pit, crack, stain, chip)
"""What is drawn from; pits twice, because the smallest defects need the most examples."""


def _shaded(rng: np.random.Generator, opacity: Picture, dark: float) -> Flaw:
    """Give a shape one brightness, dark with the probability ``dark``."""
    sign = -1.0 if rng.random() < dark else 1.0
    return Flaw(opacity, np.asarray(sign * opacity, np.float32))


def _arc(rng: np.random.Generator, size: int, length: float) -> Points:
    """Return 24 points on a slightly bent line through the picture."""
    angle, bend = rng.uniform(0.0, 2 * np.pi), rng.normal(0.0, 0.3)
    angles = angle + bend * np.linspace(-1.0, 1.0, 24)
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * length / 24
    path = np.cumsum(steps, axis=0)
    return np.asarray(path - path.mean(axis=0) + rng.uniform(0.15, 0.85, 2) * size)


def _walk(rng: np.random.Generator, start: Points, angle: float, length: float) -> Points:
    """Return a random walk with sharp turns that keeps its general direction."""
    count = max(4, int(length / 3.0))
    angles = angle + rng.normal(0.0, 0.6, count) + np.cumsum(rng.normal(0.0, 0.12, count))
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * 3.0
    return np.asarray(start + np.cumsum(steps, axis=0))


def _ellipse(centre: Points, radii: Points, angle: float) -> Points:
    turns = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([radii[0] * np.cos(turns), radii[1] * np.sin(turns)], 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn + centre)


def _stroke(points: Points, size: int, width: int, closed: bool) -> Picture:
    """Draw an anti-aliased line through ``points``, (x, y) in pixels."""
    canvas = np.zeros((size, size), np.uint8)
    cv2.polylines(canvas, [_fixed(points)], closed, 255, width, cv2.LINE_AA, SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255)


def _fill(points: Points, size: int) -> Picture:
    """Draw an anti-aliased filled outline through ``points``, (x, y) in pixels."""
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [_fixed(points)], 255, cv2.LINE_AA, SUBPIXEL)
    return canvas.astype(np.float32) / np.float32(255)


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.round(points * (1 << SUBPIXEL)).astype(np.int32)
