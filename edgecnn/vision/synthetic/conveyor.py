"""A drawn conveyor under a camera: parts come in, stop in full view, and go; between them the dark belt is empty.

Everything is drawn once; a frame is put together from ready pictures in about a millisecond. What a frame shows depends
on the seed and the time alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.vision.synthetic.surfaces import Surface, surface
from edgecnn.vision.synthetic.textures import noise

Frame = npt.NDArray[np.uint8]

EMPTY, ENTERING, STOPPED = 0.12, 0.32, 0.68
"""Shares of a part's time: until then the belt is empty, until then the part comes in, until then it stands still."""
GAP, PASSING = "gap", "passing"
OVERLAP = 0.02
"""How far a part reaches beyond the view on each side when it has stopped, of the view."""
JITTER = 0.008
"""How exactly it stops, of the view."""
BRIGHTNESS, LEAST_BRIGHT = 60, 0.93
"""A part is at least so bright on at least this share of it: what is as dark as the belt could not be told from it."""
KEPT = 0.7
"""Share of a defect that must lie inside the view."""
_BELT, _GRAIN = 22, 3
NOISE_LEVEL = 3
SHIFTS = 256
"""Places along an axis at which noise is cut; one less along the other, so that pairs come again late."""


@dataclass(frozen=True)
class Scene:
    """What the camera would see at one moment, without its noise.

    Attributes:
        frame: uint8 (height, width, 3), BGR; the caller's own.
        truth: ``"good"`` or the defect's kind while a part stands in view, ``"gap"`` for the empty belt,
            ``"passing"`` while a part is partly in view.
        part: Number of the part that is in view or comes next, from 1.
    """

    frame: Frame
    truth: str
    part: int


@dataclass(frozen=True)
class Piece:
    """A part's picture, larger than the view by `OVERLAP`, and what is on it: ``"good"`` or the defect's kind."""

    picture: Frame
    kind: str


class Conveyor:
    """Parts on a belt.

    Args:
        size: (width, height) of the frames.
        seed: Decides the parts and their order.
        defects: Share of parts with a defect, 0..1.
        rate: Parts per second.
        variety: Different parts, half of them with a defect; they come again and again in random order.

    Attributes:
        empty: The empty belt, uint8 (height, width, 3) BGR: what a gap looks like, without noise.
    """

    def __init__(
        self, size: tuple[int, int], seed: int = 0, defects: float = 0.2, rate: float = 1.0, variety: int = 16
    ) -> None:
        self._size, self._seed, self._defects, self._rate = size, seed, defects, rate
        self._belt = _belt(size, seed)
        self._sound = list(pieces(variety - variety // 2, seed, False, size))
        self._defective = list(pieces(variety // 2, seed, True, size))
        self.empty = np.ascontiguousarray(self._belt[:, : size[0]])

    def at(self, seconds: float) -> Scene:
        """Return the scene at a time, 0 or later."""
        turn = seconds * self._rate
        number, phase = int(turn), turn % 1.0
        rng = np.random.default_rng([self._seed, number])
        chosen = self._defective if rng.random() < self._defects else self._sound
        piece = chosen[int(rng.integers(len(chosen)))]
        offset = travel(phase) + rng.uniform(-JITTER, JITTER) * (EMPTY < phase < 1 - EMPTY)
        frame, in_view = self._composed(piece.picture, offset, number)
        standing = piece.kind if ENTERING <= phase <= STOPPED else PASSING
        return Scene(frame, standing if in_view else GAP, number + 1)

    def _composed(self, part: Frame, offset: float, number: int) -> tuple[Frame, bool]:
        """Return the belt with a part on it, ``offset`` of the view away from the middle, and whether it is in view."""
        width, height = self._size
        start = round(2 * width * number - offset * width) % width
        frame = self._belt[:, start : start + width].copy()
        margin_x, margin_y = (part.shape[1] - width) // 2, (part.shape[0] - height) // 2
        left = round(offset * width) - margin_x
        first, last = max(0, left), min(width, left + part.shape[1])
        if first >= last:
            return frame, False
        frame[:, first:last] = part[margin_y : margin_y + height, first - left : last - left]
        return frame, True


def travel(phase: float) -> float:
    """Return how far a part is from the middle of the view, in views: 1.1 before it comes, 0 in it, -1.1 behind it.

    Args:
        phase: Where in the part's time, 0..1.
    """
    if phase > 0.5:
        return -travel(1.0 - phase)
    share = min(max((phase - EMPTY) / (ENTERING - EMPTY), 0.0), 1.0)
    # Smoothstep: it starts and stops gently.
    return 1.1 * (1.0 - share * share * (3.0 - 2.0 * share))


def pieces(count: int, seed: int, defective: bool, size: tuple[int, int]) -> Iterator[Piece]:
    """Yield different parts for a view of ``size`` = (width, height).

    Args:
        count: How many.
        seed: The same seed gives the same parts.
        defective: Whether each has a defect.
        size: The view.
    """
    rng = np.random.default_rng([7, seed, int(defective)])
    grain = camera_noise(size, seed)
    while count > 0:
        drawn = surface(rng, defective)
        if _can_be_seen(drawn):
            count -= 1
            yield Piece(_enlarged(drawn.frame, size, grain[count % 64 :, count % 64 :]), drawn.kind)


def camera_noise(size: tuple[int, int], seed: int) -> Frame:
    """Return a sensor's noise, uint8 (height + SHIFTS, width + SHIFTS, 3) around `NOISE_LEVEL`, to cut frames from.

    The sum of two uniform values: deviation 1.6, and drawn much faster than a normal distribution.
    """
    rng = np.random.default_rng([8, seed])
    shape = (size[1] + SHIFTS, size[0] + SHIFTS, 3)
    first, second = (np.frombuffer(rng.bytes(math.prod(shape)), np.uint8).reshape(shape) >> 6 for _ in range(2))
    return np.asarray(first + second, np.uint8)


def with_noise(frame: Frame, noise_field: Frame, number: int) -> Frame:
    """Return a frame with other noise for every ``number``: cut from `camera_noise` at another place."""
    height, width = frame.shape[:2]
    x, y = number * 37 % SHIFTS, number * 59 % (SHIFTS - 1)
    brighter = cv2.add(frame, noise_field[y : y + height, x : x + width])
    return np.asarray(cv2.subtract(brighter, np.full(3, NOISE_LEVEL, np.float64)), np.uint8)


def _can_be_seen(drawn: Surface) -> bool:
    """Tell whether a part stands out from the belt, and its defect lies in the view."""
    edge = round(OVERLAP * drawn.mask.shape[0]) + 1
    inside = np.count_nonzero(drawn.mask[edge:-edge, edge:-edge]) >= KEPT * np.count_nonzero(drawn.mask)
    return bool(inside and (drawn.frame.max(axis=2) > BRIGHTNESS).mean() >= LEAST_BRIGHT)


def _enlarged(picture: Frame, size: tuple[int, int], grain: Frame) -> Frame:
    """Bring a surface to the size of the view and a little more, with fine grain and a bevel where it ends."""
    width, height = (side + 2 * round(OVERLAP * side) for side in size)
    large = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    large += cv2.resize(grain, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int16) - NOISE_LEVEL
    large[:, :3] += 25
    large[:, -3:] -= 25
    return np.clip(large, 0, 255).astype(np.uint8)


def _belt(size: tuple[int, int], seed: int) -> Frame:
    """Return the belt, twice as wide as the view, the second half like the first: it can be cut anywhere."""
    width, height = size
    rng = np.random.default_rng([9, seed])
    side = max(size)
    weave = noise(rng, side, (1.2, 1.2))[:height, :width] + 0.7 * noise(rng, side, (width / 8, 0.8))[:height, :width]
    grey = np.clip(_BELT + _GRAIN * weave, 0, 255)
    colours = np.stack([grey * 1.06, grey, grey * 0.96], axis=2)
    half = np.clip(colours, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.concatenate([half, half], axis=1))
