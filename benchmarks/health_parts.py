"""What parts on a conveyor are called while the camera is faulty: what calibration promises to find, and other faults.

    python benchmarks/health_parts.py [--parts 120]

The built-in defect model watches the drawn conveyor as the demo does, one part a second, each of another texture. It is
calibrated on parts of another seed. A fault begins with the first part; one row says what becomes of the parts. A part
is *found* if one of its frames is INVALID within a second. Time is that of the drawn camera, not of this machine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import edgecnn
from edgecnn.cli import demo
from edgecnn.runtime.health.faults import FAULTS
from edgecnn.runtime.loop.loop import LoopSettings
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.model import Model
from edgecnn.runtime.sources import Frame
from edgecnn.runtime.sources.conveyor import ConveyorSource
from edgecnn.vision.results import Verdict
from edgecnn.vision.synthetic.conveyor import Conveyor

Image = npt.NDArray[np.uint8]
Change = Callable[[Image], Image]
SIZE, SEED, FPS = (640, 480), 7, 30.0


class Faulty:
    """A conveyor behind a camera that changes every picture."""

    LIVE = False

    def __init__(self, change: Change, parts: int) -> None:
        self._belt, self._change, self._left = ConveyorSource(SIZE, 0.0, SEED, 0.3, 1.0), change, int(parts * FPS)
        self.open, self.close = self._belt.open, self._belt.close

    def read(self) -> Frame | None:
        """Return the next frame, changed; the empty place and parts that come and go are changed too."""
        self._left -= 1
        if self._left < 0:
            return None
        frame = self._belt.read()
        return replace(frame, image=np.ascontiguousarray(self._change(frame.image)))


def far_out_of_focus(image: Image) -> Image:
    """Keep every 24th pixel of either axis."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 24, height // 24), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def changes(model: Model) -> Iterator[tuple[str, Change]]:
    """Yield what every row is called, and what it does to a picture."""
    yield "nothing", lambda image: image
    finds = {} if model.reference is None else model.reference.finds
    for name, least in finds.items():
        fault, strength = FAULTS[name], least or FAULTS[name].strengths[-1]
        words = ("promised: " if least else "not promised: ") + fault.words.format(strength)
        yield words, lambda image, fault=fault, strength=strength: fault.apply(image, strength)  # type: ignore[misc]
    yield "blur of 24 pixels, noise too", far_out_of_focus
    yield "blur with a sigma of 4 pixels, noise too", lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 4.0))
    yield "rolled by 60 of 640 pixels", lambda image: np.roll(image, 60, 1)


def row(model: Model, change: Change, parts: int) -> tuple[Counter[str], int, int]:
    """Watch parts; return how many had which verdict, how many were found, and how many there were."""
    empty = Conveyor(SIZE, SEED, variety=2).empty
    rules = Rules(parts=PartSettings(mode="gap", reject=2, window=2, fill=demo.FILL), empty=change(empty))
    verdicts: Counter[str] = Counter()
    found = seen = 0
    since: float | None = None
    for turn in model.watch(Faulty(change, parts), every="frame", settings=LoopSettings(rules=rules)):
        if turn.verdict is not None and since is None:
            since, seen, hit = turn.timestamp, seen + 1, False
        if turn.verdict is Verdict.INVALID and since is not None and turn.timestamp - since <= 1 and not hit:
            hit, found = True, found + 1
        if turn.part is not None:
            verdicts[turn.part.verdict.value] += 1
            since = None
    return verdicts, found, seen


def main() -> None:
    """Calibrate, then print one row a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        demo._export(Path(scratch) / "bundle", "defect")
        with edgecnn.load(Path(scratch) / "bundle") as model:
            print("| fault | parts | PASS | REJECT | INVALID | found within 1 s |\n|---|---|---|---|---|---|")
            for words, change in changes(model):
                verdicts, found, seen = row(model, change, arguments.parts)
                cells = [str(verdicts[name]) for name in ("PASS", "REJECT", "INVALID")]
                print(f"| {words} | {seen} | {' | '.join(cells)} | {found / max(seen, 1):.1%} |", flush=True)


if __name__ == "__main__":
    main()
