"""Procedural textures of sound parts: brushed and ground metal, castings, ceramics, paint.

Each is a float32 array of shape (size, size), zero mean and a deviation of about 1 (soft ones less), to be scaled by
whoever lights it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]
Texture = Callable[[np.random.Generator, int], Picture]


def noise(rng: np.random.Generator, size: int, blur: tuple[float, float]) -> Picture:
    """Return smooth noise of zero mean and unit deviation.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        blur: Deviation of the Gaussian along (x, y), in pixels; 0 leaves that axis as it is.
    """
    # A coarse grid, then cubic interpolation: the blur needs no more samples, and large ones would be slow.
    steps = [max(1.0, deviation / 2.0) for deviation in blur]
    columns, rows = (int(np.ceil(size / step)) + 4 for step in steps)
    field = rng.standard_normal((rows, columns), np.float32)
    smooth = [deviation / step for deviation, step in zip(blur, steps, strict=True)]
    if max(smooth) > 0:
        blurred = cv2.GaussianBlur(field, (0, 0), max(smooth[0], 1e-3), sigmaY=max(smooth[1], 1e-3))
        field = np.asarray(blurred, np.float32)
    return normalised(cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC))


def normalised(field: npt.NDArray[np.generic]) -> Picture:
    """Return ``field`` as float32 of zero mean and unit deviation; a constant one becomes zeros."""
    values = field.astype(np.float32)
    centred = values - values.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6), np.float32)


def turned(rng: np.random.Generator, field: Picture, size: int) -> Picture:
    """Turn a larger field and cut out its middle; four of five times along the axes, as parts lie in a fixture."""
    angle = rng.choice([0.0, 90.0]) + rng.normal(0.0, 1.5)
    if rng.random() < 0.2:
        angle = rng.uniform(0.0, 180.0)
    side = field.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(angle), 1.0)
    whole = cv2.warpAffine(field, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    start = (side - size) // 2
    return np.asarray(whole[start : start + size, start : start + size], np.float32)


def brushed(rng: np.random.Generator, size: int) -> Picture:
    """Long parallel lines, some of them bright streaks."""
    side = size * 3 // 2
    lines = noise(rng, side, (rng.uniform(15.0, 60.0), rng.uniform(0.0, 0.8)))
    bands = noise(rng, side, (size, rng.uniform(2.0, 8.0)))
    streaks = np.maximum(noise(rng, side, (rng.uniform(10.0, 40.0), 0.4)) - 1.5, 0.0) * rng.uniform(0.0, 2.5)
    return turned(rng, normalised(lines + rng.uniform(0.2, 1.0) * bands + streaks), size)


def ground(rng: np.random.Generator, size: int) -> Picture:
    """Short fine lines over grain, sometimes a second direction across."""
    side = size * 3 // 2
    field = noise(rng, side, (rng.uniform(4.0, 14.0), 0.4)) + rng.uniform(0.2, 0.7) * noise(rng, side, (0.5, 0.5))
    if rng.random() < 0.4:
        field = field + rng.uniform(0.3, 0.9) * noise(rng, side, (0.4, rng.uniform(4.0, 14.0)))
    return turned(rng, normalised(field), size)


def cast(rng: np.random.Generator, size: int) -> Picture:
    """Grain of several sizes, lit from one side."""
    height = sum(
        (weight * noise(rng, size, (blur, blur)) for weight, blur in ((0.5, 0.7), (1.0, 1.5), (1.6, 4.0))),
        start=np.zeros((size, size), np.float32),
    )
    slope = np.gradient(height)[int(rng.integers(2))]
    return normalised(slope * rng.uniform(0.5, 1.5) + height * rng.uniform(0.1, 0.5))


def ceramic(rng: np.random.Generator, size: int) -> Picture:
    """Fine grain with faint specks."""
    specks = np.maximum(noise(rng, size, (0.8, 0.8)) - 2.0, 0.0)
    field = noise(rng, size, (0.5, 0.5)) + 0.5 * noise(rng, size, (3.0, 3.0))
    return normalised(field + rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 1.0) * specks)


def painted(rng: np.random.Generator, size: int) -> Picture:
    """Orange peel: soft waves, hardly any grain."""
    blur = rng.uniform(2.0, 6.0)
    return np.float32(0.6) * normalised(noise(rng, size, (blur, blur)) + 0.3 * noise(rng, size, (0.4, 0.4)))


def mottled(rng: np.random.Generator, size: int) -> Picture:
    """Clouds over grain, as on sintered or etched parts."""
    blur = rng.uniform(8.0, 20.0)
    clouds = noise(rng, size, (blur, blur * rng.uniform(0.7, 1.6)))
    return np.float32(0.7) * normalised(clouds + rng.uniform(0.4, 1.0) * noise(rng, size, (0.6, 0.6)))


TEXTURES: tuple[Texture, ...] = (brushed, brushed, ground, cast, ceramic, painted, mottled)
"""What is drawn from; brushed metal twice, because it is what cameras in inspection see most."""
