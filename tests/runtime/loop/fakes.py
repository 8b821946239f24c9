"""Sources and sinks that do what a test tells them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from edgecnn.errors import SourceError
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.sources import Frame, NoFrame
from tests.waiting import PATIENCE


def picture(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return noise, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(60, 200, (*size, 3), np.uint8)


class ScriptedSource:
    """Does one step of a script per read: a frame, None, an exception, or something to call and return."""

    def __init__(self, script: Iterable[object], live: bool = True) -> None:
        self.LIVE = live
        self._script: Iterator[object] = iter(script)
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def read(self) -> Frame | NoFrame | None:
        step = next(self._script, None)
        step = step() if callable(step) else step
        if isinstance(step, Exception):
            raise step
        assert step is None or isinstance(step, (Frame, NoFrame))
        return step

    def close(self) -> None:
        self.closed += 1


def frames(count: int) -> list[Frame]:
    """Return frames that differ from each other, named by their number."""
    return [Frame(picture(number), str(number)) for number in range(count)]


def pause(seconds: float, frame: Frame | None = None) -> Callable[[], Frame | NoFrame]:
    """Return a step that takes its time."""

    def step() -> Frame | NoFrame:
        time.sleep(seconds)
        return frame or NoFrame()

    return step


def lost(text: str = "gone") -> SourceError:
    """Return the error of a source that was lost."""
    return SourceError(text)


class Hanging:
    """A step that does not return until it is released.

    Attributes:
        count: How often it was called.
    """

    def __init__(self) -> None:
        self.count = 0
        self.released = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.released.wait(PATIENCE)


class ListSink:
    """Keeps what it is given; may be told to fail, or to hang until it is released."""

    def __init__(self, every_turn: bool = True, images: bool = False, fails: bool = False, hangs: bool = False) -> None:
        self.every_turn, self.images, self._fails = every_turn, images, fails
        self.seen: list[Observation] = []
        self.released = threading.Event()
        self.entered = self.closed = 0
        if not hangs:
            self.released.set()

    def send(self, observation: Observation) -> None:
        self.entered += 1
        self.released.wait(PATIENCE)
        if self._fails:
            raise OSError("no space left on device")
        self.seen.append(observation)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def loop_threads() -> list[str]:
    """Return the names of edgecnn's threads that run."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("edgecnn-"))
