"""What the jobs that train the family ``surface`` share: its size, its card, calibration frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgecnn.models.model_card import ModelCard
from edgecnn.models.surface import STRIDE
from edgecnn.train.inspection import Image, peak_pixels
from edgecnn.train.pictures import MEAN, STD, Pictures, evenly

SIZE = (256, 256)
BUILT_IN = "defect"
"""The built-in network whose weights every training of a surface begins with."""
CALIBRATION = 128
"""Most calibration frames in a trained file."""
SMALLEST_REGION = 16.0
"""Square pixels of the network's picture below which an area is not reported: four pixels of the map."""


def piece_of(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the pieces that are learned from: five eighths of the picture's, a multiple of `STRIDE`."""
    height, width = (min(side, max(2 * STRIDE, round(0.625 * side / STRIDE) * STRIDE)) for side in size)
    return height, width


def card(task: str, size: tuple[int, int], labels: tuple[str, ...], thresholds: Mapping[str, float]) -> ModelCard:
    """Return the card of a trained surface network."""
    return ModelCard(
        name=task,
        task=task,
        input_shape=(3, *size),
        color="bgr",
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        resize="stretch",
        labels=labels,
        decoding={
            **thresholds,
            "peak_pixels": peak_pixels(size[0] // 2, size[1] // 2),
            "smallest_region": SMALLEST_REGION,
        },
    )


def calibration(pictures: Pictures, classes: npt.NDArray[np.int64]) -> list[Image]:
    """Return calibration frames as they were photographed: half of them sound, if there are so many."""
    sound, defective = np.flatnonzero(classes == 0), np.flatnonzero(classes)
    chosen = [part[evenly(len(part), CALIBRATION // 2)] for part in (sound, defective)]
    return [pictures[int(index)][0] for index in np.concatenate(chosen)]
