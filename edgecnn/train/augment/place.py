"""Where the camera stands: pictures and masks turned, moved and stretched together."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

STRETCH = (-0.12, 0.18)
"""Logarithm of the smallest and largest stretch of a surface, per axis."""
MARKED = 96
"""What a pixel of a mask must reach, of 255, to count as marked."""
AROUND = 0.8
"""Share of the pieces of pictures with a defect that are cut out around a place of it."""
TURN = 8.0
"""Most that a surface is turned beside quarter turns, in degrees."""


def surface(rng: np.random.Generator, picture: Image, mask: Image, turns: bool = False) -> tuple[Image, Image]:
    """Mirror, turn a little, stretch and move a surface and its mask.

    Args:
        rng: Source of randomness.
        picture: uint8 (H, W, 3).
        mask: uint8 (H, W), 0..255.
        turns: Whether quarter turns may be seen as well: most parts lie the same way under their camera.

    Returns:
        New ones of the same size; what lies outside is mirrored in.
    """
    height, width = mask.shape
    size, middle = (width, height), np.array([width, height]) / 2
    stretch = np.exp(rng.uniform(*STRETCH, 2))
    turn = np.deg2rad(rng.uniform(-TURN, TURN)) if rng.random() < 0.5 else 0.0
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * stretch[:, None]
    matrix = matrix @ np.diag(rng.choice([-1.0, 1.0], 2))
    if turns and rng.random() < 0.5:
        matrix = matrix @ np.array([[0.0, width / height], [height / width, 0.0]])
    room = np.maximum(0.03, stretch - 1.0) * middle
    place = middle - matrix @ middle + rng.uniform(-1.0, 1.0, 2) * room
    whole = np.column_stack([matrix, place])
    moved = (
        cv2.warpAffine(item, whole, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for item in (picture, mask)
    )
    shown, covered = moved
    return np.asarray(shown, np.uint8), np.asarray(covered, np.uint8)


def piece(rng: np.random.Generator, picture: Image, mask: Image, size: tuple[int, int]) -> tuple[Image, Image]:
    """Cut out a piece: mostly around a place that the mask marks, if it marks any.

    Args:
        rng: Source of randomness.
        picture: uint8 (H, W, 3).
        mask: uint8 (H, W), 0..255.
        size: (height, width) of the piece, at most those of the picture.
    """
    room = np.array(mask.shape, np.int64) - np.array(size, np.int64)
    corner = rng.integers(room + 1)
    marked = np.flatnonzero(mask >= MARKED)
    if marked.size and rng.random() < AROUND:
        place = np.array(np.unravel_index(int(rng.choice(marked)), mask.shape))
        corner = np.clip(place - rng.integers(size), 0, room)
    rows, columns = (slice(int(start), int(start) + side) for start, side in zip(corner, size, strict=True))
    return picture[rows, columns], mask[rows, columns]
