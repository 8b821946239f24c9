"""How long a picture has been the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CHANGED = 0.01
"""Share of the samples that must differ: less may be a clock that a camera writes into a picture that stands still."""
REPEATS = 2
"""Pictures in a row that must be the same as the one before: with fewer, a slow source would be frozen at once."""


class Stillness:
    """Compares samples with the first one that they are the same as, so that slow changes add up."""

    def __init__(self) -> None:
        self._first: npt.NDArray[np.uint8] | None = None
        self._since = 0.0
        self._repeats = 0

    def add(self, sample: npt.NDArray[np.uint8], timestamp: float) -> None:
        """Take the next sample, one axis; every difference counts, for a living sensor's noise is small."""
        first = self._first
        if first is None or first.shape != sample.shape or self._differs(first, sample):
            self._first, self._since, self._repeats = sample, timestamp, 0
        else:
            self._repeats += 1

    def seconds(self, timestamp: float) -> float:
        """Return how long the picture has been the same."""
        return timestamp - self._since if self._repeats >= REPEATS else 0.0

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        first = "" if self._first is None else self._first.tobytes().hex()
        return {"first": first, "since": self._since, "repeats": self._repeats}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        first = np.frombuffer(bytes.fromhex(state["first"]), np.uint8)
        self._first = first if first.size else None
        self._since, self._repeats = float(state["since"]), int(state["repeats"])

    @staticmethod
    def _differs(first: npt.NDArray[np.uint8], sample: npt.NDArray[np.uint8]) -> bool:
        return int(np.count_nonzero(first != sample)) > CHANGED * sample.size
