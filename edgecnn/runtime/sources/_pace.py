"""When the frames of a drawn camera are due."""

from __future__ import annotations

import time

NOMINAL_FPS = 30.0
"""How fast time goes where frames come as fast as they are read."""


class Pace:
    """The clock of a drawn camera: it runs on while nobody reads, as a real one's does.

    Args:
        fps: Frames per second; 0: a frame is due whenever it is asked for, and only reading moves time on.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._started = 0.0
        self._number = -1

    def start(self) -> None:
        """Begin at 0 seconds."""
        self._started, self._number = time.monotonic(), -1

    def now(self) -> float:
        """Return the seconds since the start."""
        if self._fps:
            return time.monotonic() - self._started
        return max(0, self._number) / NOMINAL_FPS

    def next(self) -> tuple[int, float]:
        """Wait for the next frame; return its number and its time in seconds. Frames that nobody read are left out."""
        if not self._fps:
            self._number += 1
            return self._number, self._number / NOMINAL_FPS
        self._number = max(self._number + 1, int(self.now() * self._fps))
        seconds = self._number / self._fps
        time.sleep(max(0.0, seconds - self.now()))
        return self._number, seconds

    def skip(self, seconds: float) -> None:
        """Go on at a later time, where time does not go on by itself."""
        if not self._fps:
            self._number = max(self._number, int(seconds * NOMINAL_FPS) + 1)
