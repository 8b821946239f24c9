"""The calibration frames at the model's size, from the first one on for every recipe that is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.runtime.health.reference import Gatherer
from edgecnn.vision.frames import Frames, Skipped
from edgecnn.vision.preprocess import Preprocess

Frame = npt.NDArray[np.uint8]
GOLDEN_FRAMES = 8


@dataclass(frozen=True)
class _Seen:
    """A frame at the model's size, the shape it had before, and where its source stood when it came."""

    frame: Frame
    shape: tuple[int, ...]
    digest: str
    skipped: int


class Calibration:
    """Walks through calibration frames, as often as there are recipes to try.

    A one-time iterator cannot be asked again: what was read of it stays in memory, at the model's size, and no more is
    read than the recipes take. All other sources are read anew, one frame in memory at a time.

    Args:
        source: Frames of any size.
        preprocess: Brings them to the model's size; what does not fit is skipped and named.
        again: Whether there may be more than one walk.

    Attributes:
        golden: The first frames. A walk that breaks off leaves those of the walks before it.
        digest: SHA-256 over the source's frames that the last walk read; see `Frames.digest`.
        gatherer: Has looked at the frames of the last walk.
    """

    def __init__(self, source: Frames, preprocess: Preprocess, again: bool = False) -> None:
        self._source, self._preprocess = source, preprocess
        self._live = self._fitted() if again and _length(source) is None else None
        self._kept: list[_Seen] = []
        self._skipped = 0
        self.golden: list[Frame] = []
        self.digest = ""
        self.gatherer = Gatherer(preprocess)

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What the last walk could not use."""
        return self._source.skipped[: self._skipped]

    def count(self, samples: int) -> int | None:
        """Return how many frames a walk will read, None where a one-time iterator does not say."""
        found = _length(self._source)
        return None if found is None else min(found, samples or found)

    def walk(self, samples: int) -> Iterator[Frame]:
        """Yield uint8 frames (H, W, C) at the model's size, at most ``samples`` of them, 0 for all.

        Raises:
            DataError: At the end, if not one frame could be read.
        """
        self._skipped, self.gatherer = 0, Gatherer(self._preprocess)
        for number, seen in enumerate(self._fitted() if self._live is None else self._replayed(self._live), 1):
            self.digest, self._skipped = seen.digest, seen.skipped
            if len(self.golden) < number <= GOLDEN_FRAMES:
                self.golden.append(seen.frame.copy())
            self.gatherer.add(seen.frame, seen.shape)
            yield seen.frame
            if number == samples:
                return
        self.digest, self._skipped = self._source.digest, len(self._source.skipped)

    def _fitted(self) -> Iterator[_Seen]:
        for name, frame in self._source.named():
            try:
                fitted = self._preprocess(frame)
            except DataError as error:
                self._source.skip(name, str(error))
                continue
            yield _Seen(fitted, frame.shape, self._source.digest, len(self._source.skipped))

    def _replayed(self, live: Iterator[_Seen]) -> Iterator[_Seen]:
        yield from self._kept
        for seen in live:
            # A copy: whoever makes the frames may use one buffer for all of them.
            self._kept.append(_Seen(seen.frame.copy(), seen.shape, seen.digest, seen.skipped))
            yield self._kept[-1]


def _length(source: Frames) -> int | None:
    try:
        return len(source)
    except TypeError:
        return None
