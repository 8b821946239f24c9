"""Whether frames have the size that they should have."""

from __future__ import annotations

from typing import Any

from edgecnn.runtime.health.reference import Reference, with_channels
from edgecnn.vision.preprocess import Preprocess

ASPECT = 0.02
"""Tolerated change of width over height, of 1: cropped rows of an encoder, no more."""
SETTLE_SECONDS = 1.0
"""After a change of resolution alone the picture counts as wrong for so long: whatever changed it, is at work."""
LESS_THAN_CALIBRATED, LESS_THAN_SEEN = 2, 4
"""How many times smaller than the smallest calibration frame, or than the model's picture, is too small."""


class SizeCheck:
    """Compares frames with the calibration's, or where those do not say what is right with the run's first frame.

    Args:
        reference: What the calibration frames say, or None. Frames of several sizes come from no single camera: then
            every size is right.
    """

    def __init__(self, reference: Reference | None) -> None:
        frames = [] if reference is None else reference.frames.tolist()
        self._given = frames or None
        self._any_size = any(low != high for low, high in frames[:2])
        self.reset()

    def reset(self) -> None:
        """Forget the run."""
        self._expected: list[list[int]] | None = self._given
        self._now: tuple[int, int, int] | None = None
        self._until: float | None = None
        self._reason = ""

    def look(self, frame_shape: tuple[int, ...], timestamp: float) -> str:
        """Return what is wrong with a frame's shape, empty if nothing is."""
        shape = with_channels(frame_shape)
        if self._any_size:
            return ""
        if shape != self._now:
            self._change(shape, timestamp)
        if self._until is not None and timestamp >= self._until:
            self._until, self._reason = None, ""
        return self._reason

    def _change(self, shape: tuple[int, int, int], timestamp: float) -> None:
        before, self._now = self._now, shape
        self._expected = self._expected or [[size, size] for size in shape]
        self._until, self._reason = None, _misfit(shape, self._expected)
        if not self._reason and before is not None:
            self._reason = f"frames changed from {_text(before)} to {_text(shape)}"
            self._until = timestamp + SETTLE_SECONDS

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "expected": self._expected,
            "now": None if self._now is None else list(self._now),
            "until": self._until,
            "reason": self._reason,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        now, until = state["now"], state["until"]
        expected = state["expected"]
        self._expected = None if expected is None else [[int(low), int(high)] for low, high in expected]
        self._now = None if now is None else with_channels(tuple(int(size) for size in now))
        self._until = None if until is None else float(until)
        self._reason = str(state["reason"])


def least_size(reference: Reference | None, preprocess: Preprocess | None) -> tuple[int, int]:
    """Return the least height and width of a frame that shows anything; (1, 1) where nothing is known."""
    if reference is not None:
        height, width = reference.frames[:2, 0].tolist()
        return max(1, height // LESS_THAN_CALIBRATED), max(1, width // LESS_THAN_CALIBRATED)
    height, width = (1, 1) if preprocess is None else preprocess.size
    return max(1, height // LESS_THAN_SEEN), max(1, width // LESS_THAN_SEEN)


def _misfit(shape: tuple[int, int, int], expected: list[list[int]]) -> str:
    """Say how a frame differs from what is expected: smallest and largest height, width and channels."""
    heights, widths, channels = expected
    aspect = shape[1] / shape[0]
    # Grey and colour frames become each other: a file may hold the same picture as either. Lost colours show elsewhere.
    if not channels[0] <= shape[2] <= channels[1] and not {shape[2], *channels} <= {1, 3}:
        return f"frames have {shape[2]} channel(s), expected {_range(channels)}"
    low, high = (1 - ASPECT) * widths[0] / heights[1], (1 + ASPECT) * widths[1] / heights[0]
    if not low <= aspect <= high:
        return f"frames are {_text(shape)}, expected the shape of {_range(widths)} x {_range(heights)}"
    return ""


def _range(limits: list[int]) -> str:
    return str(limits[0]) if limits[0] == limits[1] else f"{limits[0]} to {limits[1]}"


def _text(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"
