"""Learns from calibration frames what pictures of this camera look like, and which faults would be found in them.

Every limit comes from the calibration frames: the range in which a feature lay, and how far beyond it a frame may be
that was not among them. With n frames the largest of n is seen, and what comes in a year is larger: the range is
widened as if the feature were normal, to `RARE` deviations (Blom 1958 for the expected extremes of n). So the limits
do not depend on how many frames there happen to be; of a diverse calibration set they are wide by themselves. Features
that depend on what was learnt are judged on frames that were left out of it.

What is found follows from that, so it is tried: faults of known strength are put into some of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.runtime.health.blank import is_black, is_saturated
from edgecnn.runtime.health.faults import CASES, FAULTS, least_found
from edgecnn.runtime.health.features import Measured, measure, normalised, seen_part
from edgecnn.runtime.health.layout import JUDGED, Layout
from edgecnn.runtime.health.limits import Limits
from edgecnn.runtime.health.place import Box, Place, small
from edgecnn.runtime.health.reference import FEATURES, OUTLIERS, Reference, plain, with_channels
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.vision.preprocess import Preprocess

Image = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

RARE = 5.0
"""Deviations of a normal feature that a good picture keeps within. Frames of a video are like their neighbours, so that
there are fewer of them than it seems: with 4 deviations, 5 % of a sound video's were outside."""
UNTOLD = 1e3
"""Reach of a feature that tells nothing here."""
_FOLDS = 10
_MOST_FRAMES = 2048
_MOST_SMALL = 64
"""Pictures in which a fixed patch is looked for."""
_TRIED = 16
"""Frames that faults are put into: all up to this number, then half of as many in every doubling."""


_MOVEMENT = [FEATURES.index("right"), FEATURES.index("down")]
_MOVED = (("movement", 0.05), ("movement", 0.1))


@dataclass(frozen=True)
class Glance:
    """What is measured on one picture: on what the model sees, and at the camera's own size where that is larger."""

    model: Measured
    camera: Measured | None
    small: Image

    def of(self, camera: bool) -> Measured:
        """Return what was measured at the camera's size, or at the model's."""
        return self.camera if camera and self.camera is not None else self.model


@dataclass(frozen=True)
class Looked:
    """What is kept of one calibration frame, some kilobytes.

    Attributes:
        shape: Height, width and channels of the frame.
        black: Whether it is black.
        saturated: Whether it is white.
        glance: What was measured.
        faulty: The same with each of `CASES` put in; empty for most frames.
    """

    shape: tuple[int, int, int]
    black: bool
    saturated: bool
    glance: Glance
    faulty: tuple[Glance, ...]


def look(
    tensor: Image,
    frame_shape: tuple[int, ...],
    frame: Image | None = None,
    preprocess: Preprocess | None = None,
    number: int | None = None,
) -> Looked:
    """Look at one calibration frame.

    Args:
        tensor: uint8 (H, W, C) at the model's size.
        frame_shape: Shape of the frame that it was made from, (H, W) or (H, W, C).
        frame: The frame itself, None where it is gone: then sharpness is that of ``tensor``.
        preprocess: What makes tensors of frames: with it, letterbox padding is left out of all that is measured.
        number: Which frame it is, from 0: faults are put into some. None for none.
    """
    picture = tensor[seen_part(frame_shape, preprocess)]
    channels = with_channels(frame_shape)[2]
    tried = frame is not None and number is not None and channels in (1, 3) and _is_tried(number)
    return Looked(
        with_channels(frame_shape),
        is_black(picture),
        is_saturated(picture),
        _glance(tensor, frame_shape, frame, preprocess),
        _faulty(frame, preprocess) if frame is not None and tried else (),
    )


def _glance(tensor: Image, frame_shape: tuple[int, ...], frame: Image | None, preprocess: Preprocess | None) -> Glance:
    picture = tensor[seen_part(frame_shape, preprocess)]
    larger = frame is not None and frame.shape[0] > tensor.shape[0] and frame.shape[1] > tensor.shape[1]
    return Glance(measure(picture), measure(picture, frame) if larger else None, small(tensor))


def _is_tried(number: int) -> bool:
    return number % (1 << (number // _TRIED).bit_length()) == 0


def _faulty(frame: Image, preprocess: Preprocess | None) -> tuple[Glance, ...]:
    found = []
    for name, strength in CASES:
        damaged = FAULTS[name].apply(frame, strength)
        tensor = np.atleast_3d(damaged) if preprocess is None else preprocess(damaged)
        found.append(_glance(tensor, damaged.shape, damaged, preprocess))
    return tuple(found)


class Gatherer:
    """Takes what was seen of calibration frames one by one, and says what they have in common.

    Of more than `_MOST_FRAMES` every second, fourth, ... is kept, about a kilobyte each.

    Args:
        preprocess: What makes tensors of frames, see `look`.
        fixed: Left, top, width and height of a fixed patch of the scene, in pixels of the frames, None to look for one.
    """

    def __init__(self, preprocess: Preprocess | None = None, fixed: Box | None = None) -> None:
        self._preprocess, self._fixed = preprocess, fixed
        self._count = self._black = self._saturated = 0
        self._frames = np.array([[np.iinfo(np.int64).max, 0]] * 3, np.int64)
        self._kept: list[Glance] = []
        self._faulty: list[tuple[Glance, ...]] = []
        self._step = 1

    def add(self, tensor: Image, frame_shape: tuple[int, ...], frame: Image | None = None) -> None:
        """Look at one frame; see `look`."""
        self.take(look(tensor, frame_shape, frame, self._preprocess, self._count))

    def take(self, looked: Looked) -> None:
        """Take what was seen of one frame."""
        shape = np.array(looked.shape, np.int64)
        self._frames = np.stack([np.minimum(self._frames[:, 0], shape), np.maximum(self._frames[:, 1], shape)], 1)
        self._black += looked.black
        self._saturated += looked.saturated
        if self._count % self._step == 0:
            self._kept.append(looked.glance)
        if looked.faulty:
            self._faulty.append(looked.faulty)
        self._count += 1
        if len(self._kept) > _MOST_FRAMES:
            self._kept, self._step = self._kept[::2], 2 * self._step

    def reference(self) -> Reference | None:
        """Return what the frames have in common, None if there was none.

        Raises:
            DataError: If the fixed patch that was named is none.
        """
        if not self._count:
            return None
        one_size = bool((self._frames[:2, 0] == self._frames[:2, 1]).all())
        camera = one_size and all(item.camera is not None for item in self._kept)
        reference = self._learnt([item.of(camera) for item in self._kept])
        size = self._frames[:2, 0] if camera else np.zeros(2, np.int64)
        reference = replace(reference, sharp_size=size.copy(), place=self._place() if one_size else None)
        if not (one_size and self._faulty):
            return reference
        reference = self._without_movement(reference)
        return replace(reference, least=self._least(reference, camera))

    def _without_movement(self, reference: Reference) -> Reference:
        """Leave the layout's movement out where it does not tell a camera that moved: each part moves it more."""
        moved = [index for index, (name, strength) in enumerate(CASES) if (name, strength) in _MOVED]
        seen = [reference.judge(faulty[index].model)[_MOVEMENT] for faulty in self._faulty for index in moved]
        reach = np.maximum(reference.above[_MOVEMENT], reference.below[_MOVEMENT])
        if (np.abs(np.array(seen) - reference.middle[_MOVEMENT]) > reach).any(axis=1).mean() > 0.5:
            return reference
        above, below = reference.above.copy(), reference.below.copy()
        above[_MOVEMENT] = below[_MOVEMENT] = UNTOLD
        return replace(reference, above=above, below=below)

    def _learnt(self, kept: Sequence[Measured]) -> Reference:
        cells = normalised(np.array([item.cells for item in kept])).astype(np.float64)
        edges = np.array([item.edges for item in kept], np.float64)
        values = np.concatenate([np.array([plain(item) for item in kept]), _held_out(cells, edges)], -1)
        middle = np.median(values, 0)
        return Reference(
            self._count,
            self._black,
            self._saturated,
            self._frames.copy(),
            middle.astype(np.float32),
            _reach(middle - values).astype(np.float32),
            _reach(values - middle).astype(np.float32),
            Layout.fit(cells, edges),
            np.zeros(2, np.int64),
            np.zeros(len(FAULTS), np.float32),
        )

    def _place(self) -> Place | None:
        pictures = [item.small for item in self._kept[:: max(1, len(self._kept) // _MOST_SMALL)]]
        if len({picture.shape for picture in pictures}) > 1:
            return None
        if self._fixed is None:
            return Place.find(pictures)
        found = Place.find(pictures, self._scaled(self._fixed, pictures[0].shape))
        if found is None:
            raise DataError(
                f"the fixed patch {','.join(map(str, self._fixed))} is not the same in all calibration frames, or has "
                "no edges. Name a part of the scene with edges in both directions, that nothing passes over."
            )
        return found

    def _scaled(self, box: Box, shape: tuple[int, ...]) -> Box:
        """Return a box of the frames in pixels of the small picture."""
        height, width = self._frames[:2, 0].tolist()
        left, top, wide, tall = box
        if left < 0 or top < 0 or wide < 1 or tall < 1 or left + wide > width or top + tall > height:
            raise DataError(f"the fixed patch {left},{top},{wide},{tall} does not lie in frames of {width} x {height}.")
        corners, tensor = np.array([[left, top], [left + wide, top + tall]], np.float64), (height, width)
        if self._preprocess is not None:
            corners = self._preprocess.geometry(height, width).to_model(corners)
            tensor = self._preprocess.size_of(height, width)
        scaled = np.rint(corners * [shape[1] / tensor[1], shape[0] / tensor[0]]).astype(int)
        (x, y), (right, bottom) = np.clip(scaled, 0, [shape[1], shape[0]]).tolist()
        return x, y, max(right - x, 1), max(bottom - y, 1)

    def _least(self, reference: Reference, camera: bool) -> npt.NDArray[np.float32]:
        """Try which faults are found."""
        if not reference.is_enough:
            return reference.least
        settings = HealthSettings()
        limits, shift = Limits(reference, settings), settings.shift or 0.0

        def is_found(glance: Glance) -> bool:
            moved = reference.place is not None and bool(reference.place.misfit(glance.small, shift))
            return moved or limits.is_clearly_wrong(reference.judge(glance.of(camera)))

        found = np.array([[is_found(glance) for glance in faulty] for faulty in self._faulty], bool)
        least = least_found(found.reshape(-1, len(CASES)))
        return np.array([np.nan if value is None else value for value in least.values()], np.float32)


def _held_out(cells: Float64, edges: Float64) -> npt.NDArray[np.floating[Any]]:
    """Judge every frame by a layout that it was not in, nor were its neighbours: those are often nearly the same."""
    parts = [part for part in np.array_split(np.arange(len(cells)), _FOLDS) if len(part)]
    if len(parts) < _FOLDS:
        return np.zeros((len(cells), len(JUDGED)))
    judged = []
    for part in parts:
        layout = Layout.fit(np.delete(cells, part, 0), np.delete(edges, part, 0))
        judged.append(layout.judge(cells[part], edges[part]))
    return np.concatenate(judged)


def _reach(distances: Float64) -> Float64:
    """Return how far from the median a good frame may be, on one side, for each column of ``distances``."""
    count = len(distances)
    outliers = count // OUTLIERS
    largest: Float64 = np.maximum(np.sort(distances, 0)[count - 1 - outliers], 0)
    expected = NormalDist().inv_cdf((count - outliers - 0.375) / (count + 0.25))
    return largest * (RARE / expected) if count > 1 else largest
