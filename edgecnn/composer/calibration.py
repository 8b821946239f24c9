"""The calibration frames at the model's size, from the first one on for every recipe that is tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.composer.golden import GoldenFrames
from edgecnn.composer.picture_notes import Sight, look
from edgecnn.errors import DataError
from edgecnn.runtime.health.gatherer import Gatherer, Looked
from edgecnn.runtime.health.gatherer import look as look_at
from edgecnn.vision.frames import Frames, Skipped
from edgecnn.vision.preprocess import Preprocess

Frame = npt.NDArray[np.uint8]
SOME_TILES = 4
"""Tiles taken of each picture where nobody knows how many pictures there will be."""


@dataclass(frozen=True)
class _Seen:
    """A frame at the model's size, and where its source stood when it came.

    ``looked`` is what is kept of the picture that the device will judge the health of: the frame itself, of tiles the
    whole picture; None where there is nothing new.
    """

    frame: Frame
    looked: Looked | None
    digest: str
    skipped: int


class Calibration:
    """Walks through calibration frames, as often as there are recipes to try.

    Of pictures that the model will see in tiles, some tiles of each are taken, from other places in each: as many as
    are asked for, spread over all pictures.

    A one-time iterator cannot be asked again: what was read of it stays in memory, at the model's size, and no more is
    read than the recipes take. All other sources are read anew, one frame in memory at a time.

    Args:
        source: Frames of any size.
        preprocess: Brings them to the model's size; what does not fit is skipped and named.
        again: Whether there may be more than one walk.
        drawn: Whether the frames do not say what pictures of the camera look like: then `gatherer` is told of none.

    Attributes:
        golden: Chooses golden frames among those of the last walk that gave any.
        digest: SHA-256 over the source's frames that the last walk read; see `Frames.digest`.
        gatherer: Has looked at the frames of the last walk.
        sights: What was seen of every picture, by its name.
    """

    def __init__(self, source: Frames, preprocess: Preprocess, again: bool = False, drawn: bool = False) -> None:
        self._source, self._preprocess, self._drawn = source, preprocess, drawn
        self._live = self._fitted(0) if again and _length(source) is None else None
        self._kept: list[_Seen] = []
        self._skipped = 0
        self.golden = GoldenFrames()
        self.digest = ""
        self.gatherer = Gatherer(preprocess)
        self.sights: dict[str, Sight] = {}

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What the last walk could not use."""
        return self._source.skipped[: self._skipped]

    def count(self, samples: int) -> int | None:
        """Return how many frames a walk will give; None for tiles, and where a one-time iterator does not say."""
        found = _length(self._source) if self._preprocess.tiling is None else None
        return None if found is None else min(found, samples or found)

    def walk(self, samples: int) -> Iterator[Frame]:
        """Yield uint8 frames (H, W, C) at the model's size, at most ``samples`` of them, 0 for all.

        Raises:
            DataError: At the end, if not one frame could be read.
        """
        self._skipped, self.gatherer = 0, Gatherer(self._preprocess)
        golden = GoldenFrames()
        for number, seen in enumerate(self._fitted(samples) if self._live is None else self._replayed(self._live), 1):
            self.digest, self._skipped = seen.digest, seen.skipped
            golden.add(seen.frame)
            self.golden = golden
            if seen.looked is not None:
                self.gatherer.take(seen.looked)
            yield seen.frame
            if number == samples:
                return
        self.digest, self._skipped = self._source.digest, len(self._source.skipped)

    def _fitted(self, samples: int) -> Iterator[_Seen]:
        length = _length(self._source)
        share = SOME_TILES if length is None else math.ceil(samples / max(length, 1))
        shapes = set[tuple[int, ...]]()
        for number, (name, frame) in enumerate(self._source.named()):
            try:
                fitted = self._preprocess(frame)
            except DataError as error:
                self._source.skip(name, str(error))
                continue
            self.sights[name] = look(frame, fitted)
            shapes.add(frame.shape)
            # Pictures of several sizes come from no single camera: no need to try what would be found in them.
            tried = number if len(shapes) == 1 else None
            pieces = self._pieces(fitted, share, number)
            # A frame that is one tile says nothing of whole pictures.
            whole = self._preprocess.tiling is None or fitted.shape[:2] != self._preprocess.size
            tells = whole and not self._drawn
            for index, piece in enumerate(pieces):
                looked = look_at(fitted, frame.shape, frame, self._preprocess, tried) if tells and index == 0 else None
                yield _Seen(piece, looked, self._source.digest, len(self._source.skipped))

    def _pieces(self, fitted: Frame, share: int, number: int) -> list[Frame]:
        """Return a frame, or ``share`` of its tiles, 0 for all: evenly spread, beginning elsewhere for each number."""
        if self._preprocess.tiling is None:
            return [fitted]
        tiles = self._preprocess.tiling.cut(fitted)
        taken = min(share, len(tiles)) or len(tiles)
        return [tiles[(number + index * len(tiles) // taken) % len(tiles)] for index in range(taken)]

    def _replayed(self, live: Iterator[_Seen]) -> Iterator[_Seen]:
        yield from self._kept
        for seen in live:
            # A copy: whoever makes the frames may use one buffer for all of them.
            self._kept.append(_Seen(seen.frame.copy(), seen.looked, seen.digest, seen.skipped))
            yield self._kept[-1]


def _length(source: Frames) -> int | None:
    try:
        return len(source)
    except TypeError:
        return None
