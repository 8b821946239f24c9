"""A loop in a thread of its own, all that it said, and bundles for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.arrays import write_npz
from edgecnn.export import artefact
from edgecnn.manifest import EngineEntry
from edgecnn.runtime.bundle import write_bundle
from edgecnn.runtime.loop.loop import Loop, LoopSettings
from edgecnn.runtime.loop.observation import Observation
from edgecnn.vision.results import Verdict
from tests.runtime.conftest import tiny_golden, tiny_graph, tiny_manifest
from tests.waiting import PATIENCE, joined, until

Image = npt.NDArray[np.uint8]

UNHURRIED = LoopSettings(silence=PATIENCE, stale=PATIENCE)
"""For loops that shall judge every frame by its picture, however late this machine is."""
TRUSTING, MIXED = 1.0, 0.065
"""Thresholds with which the tiny model says PASS to everything, and with which it rejects about half of the parts."""
_BITS, _BLOCK = 24, 16


def write_tiny(folder: Path, threshold: float = TRUSTING, engine: str = "onnxruntime") -> Path:
    """Write a bundle of the tiny classifier for one engine and return its place."""
    made = folder / "artefacts"
    made.mkdir(parents=True)
    graph = tiny_graph()
    paths = artefact.write(engine, graph, made)
    entry = EngineEntry(engine, "rpi", tuple(path.name for path in paths))
    graph.save(made / "graph.npz")
    write_npz(made / "golden.npz", tiny_golden(graph).arrays())
    manifest = replace(tiny_manifest(graph, "defect"), engines=(entry,), thresholds={"scratch": threshold})
    write_bundle(folder / "bundle", manifest, {path.name: path.read_bytes() for path in made.iterdir()})
    return folder / "bundle"


@dataclass(frozen=True)
class Turn:
    """What is kept of an observation.

    Attributes:
        at: When the loop had judged it, seconds on the monotonic clock.
        verdict: What it said.
        kinds: Of its findings.
        captured: When its frame was read.
        age: Seconds from reading the frame to the verdict.
        shown: When the server drew the picture, None where no time is drawn.
        flaw: What is wrong with the picture, as the server never drew it; empty if nothing is.
        shape: Of the frame, empty without one.
        state: The verdict after debouncing.
        part: The verdict about a part that is complete, None in between.
    """

    at: float
    verdict: Verdict | None
    kinds: tuple[str, ...]
    captured: float
    age: float
    shown: float | None
    flaw: str
    shape: tuple[int, ...]
    state: Verdict | None
    part: Verdict | None

    @property
    def trusted(self) -> bool:
        """Whether the picture was trusted."""
        return self.verdict is not Verdict.INVALID


class Watch:
    """Runs a loop in a thread and keeps its turns. A context manager.

    Args:
        loop: The loop; closed at the end.
        shown: Returns the time that is drawn in a picture.
        flaw: Says what is wrong with a picture.
    """

    def __init__(
        self,
        loop: Loop,
        shown: Callable[[Image], float | None] = lambda image: None,
        flaw: Callable[[Image], str] = lambda image: "",
    ) -> None:
        self.loop, self._shown, self._flaw = loop, shown, flaw
        self.turns: list[Turn] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def since(self, moment: float) -> list[Turn]:
        """Return the turns that came from a moment on."""
        return [turn for turn in list(self.turns) if turn.at >= moment]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, generously.

        Raises:
            AssertionError: If it does not come true, or the loop ended with an error.
        """
        until(condition, what, lambda: self.error and f"the loop ended with {self.error!r}")

    def steady(self, moment: float = 0.0, count: int = 10) -> None:
        """Wait until the last turns since a moment, so many of them, were trusted."""
        self.until(lambda: _all_trusted(self.since(moment)[-count:], count), f"{count} good turns")

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.stop()
        joined(self.thread)

    def _work(self) -> None:
        try:
            with self.loop:
                for observation in self.loop:
                    self.turns.append(self._turn(observation))
        except BaseException as error:  # the test shall see it, whatever it is
            self.error = error

    def _turn(self, seen: Observation) -> Turn:
        image, part = seen.image, seen.part
        return Turn(
            # As the loop noted it: when this thread got to it is the machine's affair.
            seen.captured + seen.age,
            seen.verdict,
            tuple(finding.kind for finding in seen.findings),
            seen.captured,
            seen.age,
            None if image is None else self._shown(image),
            "" if image is None else self._flaw(image),
            () if image is None else image.shape,
            seen.state,
            None if part is None else part.verdict,
        )


def _all_trusted(turns: list[Turn], count: int) -> bool:
    return len(turns) == count and all(turn.trusted for turn in turns)


def stamped(size: tuple[int, int]) -> Image:
    """Draw noise with the present time in it: bits of milliseconds as blocks, uint8 (height, width, 3)."""
    milliseconds = int(time.monotonic() * 1000) % (1 << _BITS)
    picture = np.random.default_rng(milliseconds).integers(90, 130, (size[1], size[0], 3), np.uint8)
    for bit in range(_BITS):
        row, column = divmod(bit, 8)
        level = 250 if milliseconds >> bit & 1 else 10
        picture[row * _BLOCK : (row + 1) * _BLOCK, column * _BLOCK : (column + 1) * _BLOCK] = level
    return picture


def stamp(image: Image) -> float:
    """Return the time that `stamped` drew, on this machine's monotonic clock."""
    milliseconds = 0
    for bit in range(_BITS):
        row, column = divmod(bit, 8)
        place = image[row * _BLOCK + 4 : (row + 1) * _BLOCK - 4, column * _BLOCK + 4 : (column + 1) * _BLOCK - 4]
        milliseconds |= int(place.mean() > 128) << bit
    now = time.monotonic() * 1000
    return (now - (int(now) - milliseconds) % (1 << _BITS)) / 1000


def ball_flaw(image: Image) -> str:
    """Say what is wrong with a picture of a white ball on grey: smeared areas."""
    grey = np.abs(image.astype(np.int16) - 0x60).max(axis=2) < 40
    other = 1.0 - np.count_nonzero(grey) / grey.size
    # The ball covers 1.6 % of 320x240 pixels, its coded edge a little more.
    return f"{other:.1%} of the picture is not the background" if other > 0.06 else ""
