"""Drawn roads to learn lanes from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgecnn.train.pictures import Image
from edgecnn.vision.synthetic.roads import Road

_STEP, _DRAWN = 37.0, (640, 360)
"""Metres between two pictures, and the size that they are drawn in."""


def drawn_roads(size: tuple[int, int], seed: int, roads: int, views: int) -> Sequence[tuple[Image, Image]]:
    """Return pictures, uint8 (H, W, 3) BGR, and their lane masks, uint8 (H, W).

    Args:
        size: (height, width) of what is returned.
        seed: Decides the roads; another one gives other roads.
        roads: How many.
        views: Pictures of each.
    """
    return [pair for index in range(roads) for pair in _views(size, 1000 * (seed + 1) + index, views)]


def _views(size: tuple[int, int], seed: int, views: int) -> Sequence[tuple[Image, Image]]:
    road, (height, width) = Road(_DRAWN, seed), size
    scenes = [road.at(_STEP * view) for view in range(views)]
    return [
        (
            np.asarray(cv2.resize(scene.frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8),
            np.asarray(cv2.resize(scene.mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8),
        )
        for scene in scenes
    ]
