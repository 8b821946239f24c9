"""The lines of a lane from frame to frame: they do not flicker, and a line that is hidden for a moment stays.

Time is that of the source, so that the same frames give the same lines however fast they are judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgecnn.errors import OptionError
from edgecnn.vision.lanes.ego import ego
from edgecnn.vision.lanes.evidence import KINDS, SIDES
from edgecnn.vision.results import Decision, Lane, Points, Verdict


@dataclass(frozen=True)
class LaneSettings:
    """How lines are followed, and when leaving the lane is told.

    Attributes:
        smoothing: Seconds that a line takes to follow two thirds of a step, 0 for none.
        hold: Seconds that a line stays which is not seen any more, or is suddenly seen elsewhere.
        jump: Share of the frame's width by which a line may move from frame to frame; beyond, it is another line.
        departure: Distance of the camera from the lane's middle, in widths of the lane, from which the verdict is
            REJECT, and PASS below; None for no verdicts.
        lane_width: Metres from line to line, to tell the distance in metres; None where it is not known.
        focal: Focal length as a share of the frame's width, to tell the curvature; None where it is not known.
    """

    smoothing: float = 0.1
    hold: float = 0.4
    jump: float = 0.06
    departure: float | None = None
    lane_width: float | None = None
    focal: float | None = None

    def __post_init__(self) -> None:
        if not (self.smoothing >= 0 and self.hold >= 0 and 0 < self.jump <= 1):
            raise OptionError(
                f"expected smoothing and hold of at least 0 s and a jump in (0, 1], got {self.smoothing:g}, "
                f"{self.hold:g} and {self.jump:g}."
            )
        for name in ("departure", "lane_width", "focal"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name} must be above 0, got {value:g}.")


@dataclass(frozen=True)
class _Track:
    """A line that is followed.

    Attributes:
        points: (N, 2), (x, y) in pixels of the frame, from near to far.
        score: Mean score.
        solid: From -1 (always dashed) to 1 (always solid).
        time: When it was last seen, in seconds on the source's clock.
    """

    points: Points
    score: float
    solid: float
    time: float


class LaneTracker:
    """Follows the lines of one source."""

    def __init__(self, settings: LaneSettings) -> None:
        self._settings = settings
        self._tracks: dict[str, _Track] = {}
        self._size, self._time = (0, 0), 0.0

    def update(self, decision: Decision, size: tuple[int, int], timestamp: float) -> Decision:
        """Take what was found in a frame, and return it with the lines as they are followed.

        Args:
            decision: Lines in pixels of the frame.
            size: (width, height) of the frame; another one than before begins anew.
            timestamp: Seconds on the source's clock; going back begins anew.
        """
        if size != self._size or timestamp < self._time:
            self._tracks.clear()
        self._size, elapsed, self._time = size, timestamp - self._time, timestamp
        seen = {lane.side: lane for lane in decision.lanes}
        self._tracks = {
            side: track for side in SIDES if (track := self._followed(side, seen.get(side), elapsed)) is not None
        }
        lanes = tuple(self._lane(side, track) for side, track in self._tracks.items())
        place = ego(lanes, size, self._settings.lane_width, self._settings.focal)
        departure, verdict = self._settings.departure, decision.verdict
        if departure is not None and place is not None:
            verdict = Verdict.REJECT if abs(place.offset) >= departure else Verdict.PASS
        return replace(decision, lanes=lanes, ego=place, verdict=verdict)

    def memory(self) -> dict[str, Any]:
        """Return what is remembered, as values for JSON."""
        tracks = {
            side: {"points": track.points.tolist(), "score": track.score, "solid": track.solid, "time": track.time}
            for side, track in self._tracks.items()
        }
        return {"size": list(self._size), "time": self._time, "tracks": tracks}

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Go on from where `memory` was taken."""
        width, height = memory["size"]
        self._size, self._time = (int(width), int(height)), float(memory["time"])
        self._tracks = {
            side: _Track(
                np.asarray(track["points"], np.float64).reshape(-1, 2),
                float(track["score"]),
                float(track["solid"]),
                float(track["time"]),
            )
            for side, track in memory["tracks"].items()
            if side in SIDES
        }

    def _followed(self, side: str, lane: Lane | None, elapsed: float) -> _Track | None:
        """Return a side's line after this frame, None without one."""
        track = self._tracks.get(side)
        if track is not None and self._time - track.time > self._settings.hold:
            track = None
        if lane is None:
            return track
        new = _Track(lane.points, lane.score, 1.0 if lane.kind == "solid" else -1.0, self._time)
        if track is None:
            return new
        behind = _behind(track.points, new.points)
        if behind is None or float(np.abs(behind).mean()) > self._settings.jump * self._size[0]:
            return track
        return _blended(track, new, behind, elapsed / (self._settings.smoothing + elapsed) if elapsed else 1.0)

    def _lane(self, side: str, track: _Track) -> Lane:
        """Return a line that is followed; the longer it was not seen, the lower is its score."""
        unseen = (self._time - track.time) / self._settings.hold if self._settings.hold else 0.0
        return Lane(side, KINDS[track.solid > 0], track.score * (1.0 - unseen), track.points)


def _behind(old: Points, new: Points) -> Points | None:
    """Return how far right of the new line the old one is at every point of the new one, (N,).

    Beyond where both are known it is what it is at the end. None if they are known nowhere together.
    """
    y = new[:, 1]
    both = (y >= old[-1, 1]) & (y <= old[0, 1])
    if not both.any():
        return None
    apart = np.interp(y[both], old[::-1, 1], old[::-1, 0]) - new[both, 0]
    # np.interp wants rising places, lines go from near to far: from large to small.
    return np.asarray(np.interp(y, y[both][::-1], apart[::-1]), np.float64)


def _blended(old: _Track, new: _Track, behind: Points, share: float) -> _Track:
    """Return the new line moved back towards the old one: a low-pass of first order.

    ``share`` is ``dt / (smoothing + dt)``, as in Casiez, Roussel and Vogel 2012, "1 EUR filter", CHI, equation 5.
    """
    points = new.points.copy()
    points[:, 0] += (1.0 - share) * behind
    return _Track(
        points, old.score + share * (new.score - old.score), old.solid + share * (new.solid - old.solid), new.time
    )
