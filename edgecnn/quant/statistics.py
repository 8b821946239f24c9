"""Streaming statistics of one tensor: memory does not grow with the number of images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgecnn.errors import CalibrationError

BINS = 8192
SAMPLE = 4096


class Statistics:
    """Smallest and largest value, and a histogram that widens by doubling.

    The histogram spans ``-limit .. limit`` symmetrically with `BINS` bins. A value outside doubles the limit, which
    merges neighbouring bins in pairs, so nothing seen is lost. At most `SAMPLE` evenly spaced values per image are
    counted, the ends are exact.

    Attributes:
        low: Smallest value seen, +inf before the first image.
        high: Largest value seen, -inf before the first image.
        counts: int64 of shape (`BINS`,).
        limit: Half the width of the histogram.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.low, self.high = float("inf"), float("-inf")
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self._images = 0

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one image's values, any shape.

        Raises:
            CalibrationError: On NaN or infinity.
        """
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CalibrationError(
                f"tensor '{self.name}' has NaN or infinite values on a calibration image (range {low} .. {high}); "
                "check the model's weights and the --mean/--std it expects"
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._count(values.ravel(), max(-low, high))
        self._images += 1

    def _count(self, values: npt.NDArray[np.float32], extent: float) -> None:
        step = max(1, values.size // SAMPLE)
        sample = values[self._images % step :: step]
        self._widen(extent)
        if self.limit == 0.0:
            self.counts[BINS // 2] += sample.size
            return
        # In float64: the limit may lie beyond float32, and its reciprocal too.
        index = ((sample.astype(np.float64) + self.limit) * (BINS / (2 * self.limit))).astype(np.int32)
        self.counts += np.bincount(np.clip(index, 0, BINS - 1), minlength=BINS)

    def _widen(self, extent: float) -> None:
        if self.limit == 0.0:
            self.limit = extent if extent > np.finfo(np.float32).tiny else 0.0
        while self.limit and extent > self.limit:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : BINS // 4 + BINS // 2] = pairs
            self.limit *= 2

    def centres(self) -> npt.NDArray[np.float64]:
        """Return the middle of every bin, shape (`BINS`,)."""
        width = 2 * self.limit / BINS
        return -self.limit + width * (np.arange(BINS, dtype=np.float64) + 0.5)
