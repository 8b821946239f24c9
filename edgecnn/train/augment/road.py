"""Roads as seen from another car: perspective, mirror, shadows, a bonnet."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

MIRRORED = np.array([0, 3, 4, 1, 2, 6, 5], np.uint8)
"""What becomes of the values of a lane mask in a mirror: left is right."""
_PIVOT = 0.6
"""Height around which pictures are zoomed, as a share from the top: a little below the horizon of most cameras."""


def place(rng: np.random.Generator, picture: Image, mask: Image, size: tuple[int, int]) -> tuple[Image, Image]:
    """Look from another place, with another lens.

    Args:
        rng: Source of randomness.
        picture: uint8 (H, W, 3).
        mask: Lane classes, uint8 (H, W).
        size: (height, width) of what is returned.

    Returns:
        Picture and mask; what lies outside is black, or the border again.
    """
    matrix = _camera(rng, mask.shape, size)
    mirror = rng.random() < 0.5
    if mirror:
        matrix = np.array([[-1.0, 0.0, size[1] - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    shown = cv2.warpPerspective(picture, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=border)
    moved = np.asarray(cv2.warpPerspective(mask, matrix, size[::-1], flags=cv2.INTER_NEAREST), np.uint8)
    return np.asarray(shown, np.uint8), MIRRORED[moved] if mirror else moved


def disturb(rng: np.random.Generator, picture: Image, mask: Image) -> tuple[Image, Image]:
    """Lose colours, let a shadow or a patch of light fall on the road, let a bonnet hide its nearest part."""
    picture, mask = _coloured(rng, picture), mask.copy()
    height, width = mask.shape
    if rng.random() < 0.4:
        corners = (rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)).astype(np.int32)
        area = np.zeros((height, width), np.uint8)
        cv2.fillPoly(area, [corners], (255,))
        cv2.copyTo(cv2.convertScaleAbs(picture, alpha=float(rng.uniform(0.35, 1.5))), area, picture)
    if rng.random() < 0.25:
        hidden = height - int(height * rng.uniform(0.02, 0.18))
        picture[hidden:] = rng.integers(0, 255, 3)
        mask[hidden:] = 0
    return picture, mask


def _camera(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, int]) -> Matrix:
    """Return what maps a picture of ``shape`` to one of ``size`` as another camera would have taken it."""
    (height, width), (high, wide) = shape, size
    fit = np.diag([wide / width, high / height, 1.0])
    turn = np.deg2rad(rng.normal(0.0, 2.0))
    zoom = np.exp(rng.uniform(-0.15, 0.5))
    taller = zoom * np.exp(rng.uniform(-0.15, 0.25))
    look = np.array(
        [
            [zoom * np.cos(turn), zoom * np.sin(turn) + rng.normal(0.0, 0.06), 0.0],
            [-taller * np.sin(turn), taller * np.cos(turn), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    if rng.random() < 0.5:
        look[2, :2] = rng.normal(0.0, 0.05) / wide, rng.uniform(-0.3, 0.3) / high
    shift = rng.normal(0.0, (0.05 * wide, 0.07 * high))
    back = _moved(wide / 2 + shift[0], _PIVOT * high + shift[1])
    return np.asarray(back @ look @ _moved(-wide / 2, -_PIVOT * high) @ fit)


def _moved(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _coloured(rng: np.random.Generator, picture: Image) -> Image:
    """Return a picture of its own, grey, or more or less colourful."""
    choice = rng.random()
    if choice < 0.25:
        return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    if choice < 0.6:
        shades = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
        more = cv2.add(shades, np.array([0.0, rng.uniform(-60, 60), 0.0, 0.0]))
        return np.asarray(cv2.cvtColor(more, cv2.COLOR_HSV2BGR), np.uint8)
    return picture.copy()
