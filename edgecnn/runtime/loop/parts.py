"""From the verdicts of frames to one verdict a part, and to a state that does not flicker.

INVALID counts at once and is never forgiven by other frames: a picture that cannot be trusted says nothing good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError
from edgecnn.runtime.loop.observation import Part
from edgecnn.vision.results import Verdict

Image = npt.NDArray[np.uint8]

MODES = ("none", "frame", "gap")
VISIBLE_STEP = 24
"""Grey levels by which a pixel must differ from the empty place to belong to a part: above noise and flicker."""
SAMPLING = 4
"""Every fourth pixel per axis decides whether a part is in view: enough for a share, at a sixteenth of the cost."""


@dataclass(frozen=True)
class PartSettings:
    """How frames become parts and states.

    Attributes:
        mode: ``"none"``: there are no parts, the state is what counts. ``"frame"``: every frame is a part, as with a
            triggered camera. ``"gap"``: a part is what is seen between two views of the empty place.
        reject: Frames, of the last ``window``, or of a part, that must say REJECT before it counts.
        window: Frames that are looked back on, at least ``reject``.
        release: PASS frames in a row after which REJECT or INVALID ends.
        margin: Hysteresis of the score: while the state is REJECT, a frame is good only if its score is this far below
            the threshold; 0 for none.
        fill: Share of the picture that must differ from the empty place for a part to be judged, in (0, 1].
        clear: Share up to which the place counts as empty, below ``fill``.
        shortest: Frames that can be trusted and that a part needs; with fewer it is INVALID.
    """

    mode: str = "none"
    reject: int = 1
    window: int = 1
    release: int = 1
    margin: float = 0.0
    fill: float = 0.8
    clear: float = 0.1
    shortest: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise OptionError(f"parts must be one of {', '.join(MODES)}, got '{self.mode}'.")
        if not 1 <= self.reject <= self.window:
            raise OptionError(f"reject must be 1 .. window ({self.window}), got {self.reject}.")
        if min(self.release, self.shortest) < 1 or self.margin < 0:
            raise OptionError("release and shortest must be at least 1, margin at least 0.")
        if not 0 <= self.clear < self.fill <= 1:
            raise OptionError(f"expected 0 <= clear < fill <= 1, got clear {self.clear:g}, fill {self.fill:g}.")


class Debounce:
    """The state behind the verdicts of frames: k of n, and PASS only after some good frames in a row."""

    def __init__(self, settings: PartSettings) -> None:
        self._settings = settings
        self._rejects: deque[bool] = deque(maxlen=settings.window)
        self._good = 0
        self.state: Verdict | None = None

    def update(self, verdict: Verdict | None) -> bool:
        """Take a frame's verdict (None: nothing was decided, the state stays); return whether the state changed."""
        if verdict is None:
            return False
        before, self.state = self.state, self._next(verdict)
        return self.state is not before

    def strict(self, verdict: Verdict | None, score: float | None, threshold: float | None) -> Verdict | None:
        """Return a frame's verdict with hysteresis: a score just below the threshold does not end a REJECT."""
        near = score is not None and threshold is not None and score >= threshold - self._settings.margin
        held = self.state is Verdict.REJECT and verdict is Verdict.PASS and self._settings.margin > 0
        return Verdict.REJECT if held and near else verdict

    def memory(self) -> dict[str, Any]:
        """Return what is remembered, as values for JSON."""
        state = None if self.state is None else self.state.value
        return {"rejects": list(self._rejects), "good": self._good, "state": state}

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Go on from where `memory` was taken."""
        self._rejects = deque(map(bool, memory["rejects"]), maxlen=self._settings.window)
        self._good = int(memory["good"])
        self.state = None if memory["state"] is None else Verdict(memory["state"])

    def _next(self, verdict: Verdict) -> Verdict:
        if verdict is Verdict.INVALID:
            self._good = 0
            return Verdict.INVALID
        self._rejects.append(verdict is Verdict.REJECT)
        self._good = self._good + 1 if verdict is Verdict.PASS else 0
        if sum(self._rejects) >= self._settings.reject:
            return Verdict.REJECT
        if self._good >= self._settings.release:
            return Verdict.PASS
        # Before the first decision nothing is known, and what is not known is not good.
        return self.state or Verdict.INVALID


class Presence:
    """Whether a part is in view: how much of the picture differs from the empty place.

    Args:
        empty: The empty place at the model's size, uint8 (H, W, C).
        settings: The limits.
    """

    def __init__(self, empty: Image, settings: PartSettings) -> None:
        self._empty, self._size = _sampled(empty), empty.shape
        self._settings = settings

    def misfit(self, tensor: Image) -> str:
        """Say why a picture (1, H, W, C) cannot be compared, empty if it can; those seen in tiles have many sizes."""
        expected, came = self._size, tensor.shape[1:]
        if came == expected:
            return ""
        return (
            f"the picture of the empty place is {expected[1]} x {expected[0]}, this one {came[1]} x {came[0]}: take "
            "that of the empty place with the same camera"
        )

    def share(self, tensor: Image) -> float:
        """Return the share of the picture (1, H, W, C) that differs from the empty place, 0..1."""
        differs = np.abs(_sampled(tensor[0]) - self._empty).max(axis=2) > VISIBLE_STEP
        return float(np.count_nonzero(differs) / differs.size)

    def is_full(self, share: float) -> bool:
        """Tell whether a part fills the view, so that it can be judged."""
        return share >= self._settings.fill

    def is_empty(self, share: float) -> bool:
        """Tell whether the place is empty."""
        return share <= self._settings.clear


class Parts:
    """Counts parts and gives each one verdict. `Parts.see` takes every frame of a part, `Parts.gap` ends it."""

    def __init__(self, settings: PartSettings) -> None:
        self._settings = settings
        self._number = 0
        self._frames = self._rejected = self._invalid = 0
        self._score: float | None = None

    def see(self, verdict: Verdict | None, score: float | None) -> None:
        """Take one frame of the part in view."""
        self._frames += 1
        self._rejected += verdict is Verdict.REJECT
        self._invalid += verdict is Verdict.INVALID
        if score is not None:
            self._score = score if self._score is None else max(self._score, score)

    @property
    def in_view(self) -> bool:
        """Whether a part has been seen and not ended."""
        return self._frames > 0

    def gap(self) -> Part | None:
        """End the part in view and return it; None if there is none."""
        if not self.in_view:
            return None
        self._number += 1
        part = Part(self._number, self._verdict(), self._frames, self._rejected, self._invalid, self._score)
        self._clear()
        return part

    def memory(self) -> dict[str, Any]:
        """Return what is remembered, as values for JSON."""
        return {"number": self._number, "seen": [self._frames, self._rejected, self._invalid], "score": self._score}

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Go on from where `memory` was taken."""
        self._number = int(memory["number"])
        self._frames, self._rejected, self._invalid = map(int, memory["seen"])
        self._score = None if memory["score"] is None else float(memory["score"])

    def _verdict(self) -> Verdict:
        trusted = self._frames - self._invalid
        if self._rejected >= min(self._settings.reject, max(trusted, 1)):
            return Verdict.REJECT
        enough = trusted >= self._settings.shortest and trusted >= self._invalid
        return Verdict.PASS if enough else Verdict.INVALID

    def _clear(self) -> None:
        self._frames = self._rejected = self._invalid = 0
        self._score = None


def _sampled(picture: Image) -> npt.NDArray[np.int16]:
    return picture[::SAMPLING, ::SAMPLING].astype(np.int16)
