"""What the loop says about one moment: a frame and its verdict, or that there was no frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.vision.results import Finding, Result, Verdict

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Part:
    """The verdict about one part, from all its frames.

    Attributes:
        number: Counts the parts of this run, from 1.
        verdict: PASS, REJECT, or INVALID if too few of its frames could be trusted.
        frames: Frames that it was seen in.
        rejected: How many of them said REJECT.
        invalid: How many of them could not be trusted.
        score: The highest score that a frame had, None if none had one.
    """

    number: int
    verdict: Verdict
    frames: int
    rejected: int
    invalid: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Observation:
    """One turn of the loop.

    Attributes:
        number: Counts the turns of this run, from 1; no two have the same.
        verdict: Of this moment alone: PASS, REJECT, INVALID (see ``findings``); None where the task decides nothing.
        state: The verdict after debouncing: what a lamp shall show. INVALID at once, the others as the rules say.
        changed: Whether ``state`` is another than one turn before; True on the first.
        captured: When the frame was read, seconds on this process's monotonic clock.
        time: The same as seconds since 1970, UTC, for people: this clock may jump.
        timestamp: The same on the source's clock (a video's), else that of ``captured``; health and parts go by it.
        age: Seconds from reading the frame to this verdict.
        part: The verdict about a part that is complete with this turn, None in between.
        findings: Why the picture cannot be trusted; empty if it can.
        result: What the model said; None where it was not asked because the picture cannot be trusted.
        image: The frame, uint8 (H, W, 3) BGR or (H, W) grey, not to be written to; None where none came in time.
        tensor: What the model saw, uint8 (1, H, W, C), not to be written to; None without a frame.
        edges: What was measured on the frame itself, see `edgecnn.runtime.health.features.Measured`; None where it was
            not looked at thoroughly.
        name: What the source calls the frame, whether it could be read or not; ``""`` without a name.
        truth: What a synthetic source drew, None elsewhere.
        dropped: Frames that came and were left out for a newer one, since the turn before.
        memory: What the judge remembered before this turn (`Judge.memory`); only on some turns, and only for sinks that
            record.
    """

    number: int
    verdict: Verdict | None
    state: Verdict | None
    changed: bool
    captured: float
    time: float
    timestamp: float
    age: float
    part: Part | None = None
    findings: tuple[Finding, ...] = ()
    result: Result | None = None
    image: Image | None = field(default=None, repr=False)
    tensor: Image | None = field(default=None, repr=False)
    edges: tuple[float, ...] | None = field(default=None, repr=False)
    name: str = ""
    truth: str | None = None
    dropped: int = 0
    memory: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def label(self) -> str | None:
        """The result's label; None without one."""
        return None if self.result is None else self.result.label

    @property
    def score(self) -> float | None:
        """The result's score; None without one."""
        return None if self.result is None else self.result.score

    @property
    def is_event(self) -> bool:
        """Whether this turn says something new: a part is complete, or the state changed. Most turns do not."""
        return self.changed or self.part is not None
