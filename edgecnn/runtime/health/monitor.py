"""Whether a picture can be trusted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.runtime.health.blank import BLACK, SHARE, WHITE, has_content, is_black, is_saturated
from edgecnn.runtime.health.faults import told
from edgecnn.runtime.health.features import EDGES, sample_points, seen_part
from edgecnn.runtime.health.frozen import Stillness
from edgecnn.runtime.health.limits import Limits
from edgecnn.runtime.health.place import small
from edgecnn.runtime.health.reference import ENOUGH, OUTLIERS, Reference
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.health.size import SizeCheck, least_size
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.results import Finding

Image = npt.NDArray[np.uint8]
_DISTRIBUTION = "sharpness, noise, movement, likeness and light are not judged"
_CALIBRATE = "edgecnn calibrate learns it from the camera"
_BLANK = {
    "black": f"all but {SHARE:.0%} of the picture is at {BLACK} of 255 or below",
    "saturated": f"all but {SHARE:.0%} of the picture is at {WHITE} of 255 or above",
}


class Monitor:
    """Judges every picture that goes to the model. One monitor belongs to one source; used by one thread at a time.

    What it says depends on the pictures, shapes and timestamps alone, so that a recorded event gives the same findings
    again: `state` is all that it remembers, and `edges` all that a replay cannot measure again, for it has the model's
    frames alone. After a time stamp that lies before the last one it starts anew.

    Args:
        reference: What the calibration frames look like; None where the bundle has none: then only black, white,
            frozen and changed pictures are found.
        settings: What is looked for, None for the defaults.
        preprocess: How frames become tensors: with it, letterbox padding is left out of all that is measured. Give it
            here if the `Gatherer` had it.

    Attributes:
        edges: `Measured.edges` of the last frame where it was looked at thoroughly, empty where they are not known;
            else None.
    """

    def __init__(
        self, reference: Reference | None, settings: HealthSettings | None = None, preprocess: Preprocess | None = None
    ) -> None:
        self._settings, self._reference, self._preprocess = settings or HealthSettings(), reference, preprocess
        self._limits = Limits(reference, self._settings) if reference is not None and reference.is_enough else None
        usual = _usual_blanks(reference)
        self._black = self._settings.black and "black" not in usual
        self._saturated = self._settings.saturated and "saturated" not in usual
        self._size = SizeCheck(None if _is_prepared(reference, preprocess) else reference)
        self._least = least_size(reference, preprocess)
        self._shape: tuple[int, ...] = ()
        self._part = slice(None), slice(None)
        self._restart()

    def _restart(self) -> None:
        self._latest = self._checked = -np.inf
        self._still = Stillness()
        self._size.reset()
        self.edges: tuple[float, ...] | None = None
        self._forget()

    def _forget(self) -> None:
        """Drop what the thorough checks have found; the next frame is looked at at once."""
        self._checked = -np.inf
        self._looks: deque[tuple[float, tuple[str, ...]]] = deque()
        self._said: dict[str, str] = {}
        self._found: tuple[Finding, ...] = ()
        self._away: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What would be found in this camera's pictures, what would not, and what cannot be looked for, and why."""
        reference = self._reference
        if reference is None:
            return (f"{_DISTRIBUTION}: the bundle does not know what pictures of this camera look like; {_CALIBRATE}",)
        said = [
            f"{kind} pictures are not looked for: calibration frames are so too" for kind in _usual_blanks(reference)
        ]
        if not reference.is_enough:
            return (*said, f"{_DISTRIBUTION}: that takes {ENOUGH} calibration frames, there were {reference.count}")
        if not reference.least.any():
            return (*said, f"which faults would be found was not tried on frames of one camera; {_CALIBRATE}")
        found, missed = told(reference.finds)
        said += [f"found within a second: {found}"] if found else []
        said += [f"NOT found, so say the calibration frames: {missed}"] if missed else []
        return tuple(said)

    def look(
        self,
        tensor: Image,
        frame_shape: tuple[int, ...],
        timestamp: float,
        comparable: bool = True,
        frame: Image | None = None,
        edges: Sequence[float] | None = None,
    ) -> tuple[Finding, ...]:
        """Say why this picture cannot be trusted; empty if it can.

        Args:
            tensor: What the model sees, uint8 (1, H, W, C). Not written to, and not kept.
            frame_shape: Shape of the frame that it was made from, (H, W) or (H, W, C).
            timestamp: When the frame was taken, seconds.
            comparable: Whether it shows what the calibration frames show. If not, only black, white, frozen and the
                size are looked for; what was wrong before goes on being wrong when comparable frames come again.
            frame: The frame itself, uint8 (H, W) or (H, W, C): it shows how sharp the picture is.
            edges: What `Monitor.edges` was for this frame, in a replay.
        """
        self.edges = None
        if timestamp < self._latest:
            self._restart()
        self._latest = timestamp
        if frame_shape != self._shape:
            self._shape, self._part = frame_shape, seen_part(frame_shape, self._preprocess)
        picture = tensor[0][self._part]
        reason = self._size.look(frame_shape, timestamp) if self._settings.size else ""
        reason = reason or self._tiny(frame_shape)
        wrong_size = (Finding("size", reason),) if reason else ()
        blank = self._blank(picture)
        if blank:
            self._forget()
            return (Finding(blank, _BLANK[blank]), *wrong_size)
        if timestamp - self._checked >= self._settings.check_seconds or comparable != (self._away is None):
            self._checked = timestamp
            self._found = self._check(tensor[0], picture, timestamp, comparable, frame, edges)
        return (*wrong_size, *self._found) if wrong_size else self._found

    def _tiny(self, frame_shape: tuple[int, ...]) -> str:
        height, width = self._least
        if not self._settings.tiny or (frame_shape[0] >= height and frame_shape[1] >= width):
            return ""
        came = f"{frame_shape[1]} x {frame_shape[0]}"
        return f"the picture is {came}: enlarged from less than {width} x {height}, it shows nothing"

    def _blank(self, picture: Image) -> str:
        if has_content(picture):
            return ""
        if self._black and is_black(picture):
            return "black"
        return "saturated" if self._saturated and is_saturated(picture) else ""

    def _check(
        self,
        tensor: Image,
        picture: Image,
        timestamp: float,
        comparable: bool,
        frame: Image | None,
        edges: Sequence[float] | None,
    ) -> tuple[Finding, ...]:
        """Look thoroughly; what the calibration frames decide must be so in most looks before it is said."""
        frozen = self._frozen(picture, timestamp)
        if not comparable:
            self._away = timestamp if self._away is None else self._away
            return frozen
        if self._away is not None:
            # Time in which nothing could be compared does not count.
            self._looks = deque((looked + timestamp - self._away, kinds) for looked, kinds in self._looks)
            self._away = None
        reasons = self._reasons(tensor, picture, frame, edges)
        return (*frozen, *(Finding(kind, reason) for kind, reason in self._voted(reasons, timestamp).items()))

    def _reasons(
        self, tensor: Image, picture: Image, frame: Image | None, edges: Sequence[float] | None
    ) -> dict[str, str]:
        """Return what is wrong with a picture by itself."""
        if self._limits is None or self._reference is None:
            return {}
        known = None if edges is None else np.array(edges or [np.nan] * EDGES, np.float32)
        measured = self._reference.measure(picture, frame, known)
        self.edges = tuple(measured.edges.tolist()) if np.isfinite(measured.edges).all() else ()
        reasons = self._limits.findings(self._reference.judge(measured))
        place, shift = self._reference.place, self._settings.shift
        if place is not None and shift is not None:
            moved = place.misfit(small(tensor), shift)
            reasons |= {"shifted": moved} if moved else {}
        return reasons

    def _voted(self, reasons: Mapping[str, str], timestamp: float) -> dict[str, str]:
        """Return what most looks of the last `HealthSettings.persist_seconds` found, over two thirds of that time.

        Between looks that find something there may be some that do not: what is at a limit is on either side of it.
        """
        persist = self._settings.persist_seconds
        self._looks.append((timestamp, tuple(reasons)))
        while len(self._looks) > 2 and timestamp - self._looks[0][0] > persist:
            self._looks.popleft()
        if persist == 0:
            return dict(reasons)
        self._said |= reasons
        lasting = {}
        for kind, reason in self._said.items():
            found = [looked for looked, kinds in self._looks if kind in kinds]
            if 2 * len(found) > len(self._looks) and timestamp - found[0] >= 2 / 3 * persist:
                lasting[kind] = reason
        return lasting

    def _frozen(self, picture: Image, timestamp: float) -> tuple[Finding, ...]:
        limit = self._settings.frozen_seconds
        if limit is None:
            return ()
        self._still.add(sample_points(picture), timestamp)
        seconds = self._still.seconds(timestamp)
        if not seconds or seconds < limit:
            return ()
        return (Finding("frozen", f"the picture has been the same for {seconds:.1f} s, at most {limit:g} s is usual"),)

    def state(self) -> dict[str, Any]:
        """Return all that is remembered, as JSON takes it: numbers, texts, lists, dictionaries and None; some kB."""
        return {
            "latest": _finite(self._latest),
            "checked": _finite(self._checked),
            "looks": [[timestamp, list(kinds)] for timestamp, kinds in self._looks],
            "said": dict(self._said),
            "away": self._away,
            "found": [[finding.kind, finding.reason] for finding in self._found],
            "still": self._still.state(),
            "size": self._size.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where the `state` of a monitor with the same reference and settings was taken.

        Raises:
            DataError: If it is no such state.
        """
        self._restart()
        try:
            latest, checked = (-np.inf if state[key] is None else float(state[key]) for key in ("latest", "checked"))
            self._looks = deque((float(timestamp), tuple(map(str, kinds))) for timestamp, kinds in state["looks"])
            self._said = {str(kind): str(reason) for kind, reason in state["said"].items()}
            self._found = tuple(Finding(str(kind), str(reason)) for kind, reason in state["found"])
            self._away = None if state["away"] is None else float(state["away"])
            self._still.restore(state["still"])
            self._size.restore(state["size"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._restart()
            raise DataError(f"this is no state of a health monitor: {type(error).__name__}: {error}.") from error
        self._latest, self._checked = latest, checked


def _usual_blanks(reference: Reference | None) -> list[str]:
    """Return which blank pictures are nothing special, because more than outliers of the calibration frames are so."""
    if reference is None:
        return []
    most = max(1, reference.count // OUTLIERS)
    return [kind for kind, count in (("black", reference.black), ("saturated", reference.saturated)) if count > most]


def _is_prepared(reference: Reference | None, preprocess: Preprocess | None) -> bool:
    """Tell whether calibration frames had the model's size already: then they do not say what the camera gives."""
    if reference is None or preprocess is None:
        return False
    height, width = preprocess.size
    return np.array_equal(reference.frames[:2], [[height, height], [width, width]])


def _finite(timestamp: float) -> float | None:
    return timestamp if np.isfinite(timestamp) else None


__all__ = ["HealthSettings", "Monitor"]
