"""The pictures of a data set at the network's size, kept in memory as far as they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgecnn.manifest import Resize
from edgecnn.train.data import Sample, load_image
from edgecnn.vision.preprocess import Preprocess

Image = npt.NDArray[np.uint8]
Labels = Callable[[Sample], Image | None]

MOST_BYTES = 2 << 30
"""What pictures may take in memory; what does not fit is read again every time."""
MEAN, STD = 0.5, 0.25
"""What networks that are trained here expect, on the 0..1 scale, of every channel."""


class Pictures:
    """Pictures and their label masks at one size, by index; asked by several threads.

    Args:
        samples: The data set.
        size: (height, width).
        labels: Reads a sample's label mask; None where there is none.
        nearest: Whether masks hold classes, which cannot be mixed, instead of shares of 0..255.

    Attributes:
        samples: As given.
    """

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int], labels: Labels, nearest: bool = False) -> None:
        self.samples, self._size, self._labels = samples, size, labels
        self._fit = Preprocess(size, 3, Resize("stretch"))
        self._shrink = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
        self._kept: dict[int, tuple[Image, Image | None]] = {}
        self._most = MOST_BYTES // (4 * size[0] * size[1])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image, Image | None]:
        """Return the picture, uint8 (H, W, 3) BGR, and its label mask, uint8 (H, W); not to be written to.

        Raises:
            DataError: If a file cannot be read any more.
        """
        found = self._kept.get(index)
        if found is None:
            found = self._read(self.samples[index])
            if len(self._kept) < self._most:
                self._kept[index] = found
        return found

    def _read(self, sample: Sample) -> tuple[Image, Image | None]:
        mask, (height, width) = self._labels(sample), self._size
        if mask is not None and mask.shape != self._size:
            mask = np.asarray(cv2.resize(mask, (width, height), interpolation=self._shrink), np.uint8)
        return self._fit(load_image(sample)), mask


def as_input(frames: Sequence[Image]) -> Tensor:
    """Return uint8 (H, W, 3) BGR frames as a network's float32 (N, 3, H, W), normalised by `MEAN` and `STD`."""
    stacked = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    return ((stacked.float() / 255.0 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the indices 0 .. count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []
