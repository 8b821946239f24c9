"""Which camera faults are found within a second, how often a sound picture is called invalid, and what looking costs.

    EDGECNN_DATA=../shared/data python benchmarks/health.py

Sources are cut into blocks of four seconds: of every five, two calibrate and three are judged, so that calibration sees
what happens at the place, but not the pictures that are judged.
A source is seen through a window of five sixths of the frame, so that a camera that moves sees what is really there.
Faults begin at random moments, each after half a second of sound pictures.
"""

from __future__ import annotations

import argparse
import os
import sys
import timeit
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.manifest import Resize
from edgecnn.runtime.health.blank import is_black, is_saturated
from edgecnn.runtime.health.faults import FAULTS
from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.reference import Reference
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.synthetic.surfaces import surfaces

Image = npt.NDArray[np.uint8]
Size = tuple[str, Preprocess]

BLOCK_SECONDS, BLOCKS, CALIBRATING = 4.0, 5, (0, 3)
MOST_CALIBRATION_FRAMES = 120
WINDOW = 5 / 6
PARTS, HELD = 120, 10
"""Parts that a source shows, and frames that each stays in the picture."""
SIZES: list[Size] = [
    ("128 stretch", Preprocess((128, 128), 3)),
    ("224 crop", Preprocess((224, 224), 3, Resize("crop", crop_ratio=0.875))),
]
BLURS = (0.4, 0.6, 1.0, 2.0, 4.0)
NOISES = (3, 6, 12, 25)
SHIFTS = (0.05, 0.10, 0.20)


@dataclass(frozen=True)
class Scene:
    """A source of frames.

    Attributes:
        name: What the table calls it.
        rate: Frames a second.
        count: Number of frames.
        frame: Returns a frame by its number, larger than what the camera sees.
    """

    name: str
    rate: float
    count: int
    frame: Callable[[int], Image]

    def calibrates(self, number: int) -> bool:
        """Tell whether a frame is for calibration."""
        return int(number / self.rate / BLOCK_SECONDS) % BLOCKS in CALIBRATING

    def onsets(self) -> list[int]:
        """Return the numbers of frames with a second of judged frames before and after them."""
        second = int(self.rate)
        judged = [not self.calibrates(number) for number in range(self.count)]
        return [n for n in range(second, self.count - second) if all(judged[n - second : n + second])]

    def seen(self, number: int, shift: float = 0.0) -> Image:
        """Return what the camera sees, after it moved by ``shift`` of its picture's width."""
        whole = self.frame(number)
        height, width = (int(size * WINDOW) for size in whole.shape[:2])
        x, y = round(shift * width), (whole.shape[0] - height) // 2
        return np.ascontiguousarray(whole[y : y + height, x : x + width])


Fault = Callable[[Scene, int, int, np.random.Generator, Preprocess], Image]


def video(path: Path) -> Scene:
    """Read a video."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    if not frames:
        sys.exit(f"{path}: no video")
    return Scene(path.stem.split("-")[0], capture.get(cv2.CAP_PROP_FPS), len(frames), frames.__getitem__)


def parts(name: str, pictures: Sequence[Image], share: float) -> Scene:
    """Show pictures of parts as a fixed camera sees them on a fixture, each for `HELD` frames.

    A part fills ``share`` of the picture, is put down up to 1 % off its place, and trembles by 0.3 %. The camera makes
    noise of 1.5 grey levels.
    """
    size = 256
    fixture = cv2.resize(np.random.default_rng(1).integers(20, 230, (6, 6), np.uint8), (size, size))
    noise = np.random.default_rng(2).normal(0, 1.5, (8, size, size, 3)).round().astype(np.int16)

    def frame(number: int) -> Image:
        rng = np.random.default_rng([3, number])
        placed = np.random.default_rng([4, number // HELD]).uniform(-0.01, 0.01, 2) * size
        corner = (size * (1 - share) / 2 + placed + rng.uniform(-0.003, 0.003, 2) * size).astype(np.float32)
        part = pictures[number // HELD]
        scale = size * share / np.array(part.shape[1::-1])
        place = np.array([[scale[0], 0, corner[0]], [0, scale[1], corner[1]]])
        whole = cv2.cvtColor(fixture, cv2.COLOR_GRAY2BGR)
        smooth = cv2.INTER_LINEAR
        if share > 1:
            whole = cv2.warpAffine(part, place, (size, size), flags=smooth, borderMode=cv2.BORDER_REPLICATE)
        else:
            cv2.warpAffine(part, place, (size, size), whole, smooth, cv2.BORDER_TRANSPARENT)
        grain = np.roll(noise[number % 8], int(rng.integers(size)), 0)
        noisy: Image = cv2.add(whole, grain, dtype=cv2.CV_8U)
        return noisy

    return Scene(name, 30.0, len(pictures) * HELD, frame)


def tiles(data: Path) -> list[Image]:
    """Read the magnetic tiles, good and bad ones in a random order."""
    found = sorted((data / "magnetic-tile" / "images").rglob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(found))
    return [cv2.imread(str(found[index])) for index in order]


def reference_of(scene: Scene, preprocess: Preprocess, numbers: Sequence[int] = ()) -> Reference:
    """Calibrate on some of the frames with these numbers, without numbers on those that are for it."""
    gatherer = Gatherer(preprocess)
    numbers = numbers or [number for number in range(scene.count) if scene.calibrates(number)]
    for number in numbers[:: max(1, len(numbers) // MOST_CALIBRATION_FRAMES)]:
        frame = scene.seen(number)
        gatherer.add(preprocess(frame), frame.shape, frame)
    reference = gatherer.reference()
    assert reference is not None
    return reference


def false_alarms(scene: Scene, preprocess: Preprocess, first: float | None) -> tuple[int, Counter[str]]:
    """Count the sound frames that were judged, and those called invalid by kind; ``"any"`` is all of them.

    Args:
        scene: The source.
        preprocess: Brings frames to the model's size.
        first: Share of the frames, from the first on, to calibrate on; None for the blocks.
    """
    calibrating = range(int(scene.count * (first or 0)))
    monitor = Monitor(reference_of(scene, preprocess, calibrating), None, preprocess)
    numbers = [n for n in range(scene.count) if not (n in calibrating if first else scene.calibrates(n))]
    wrong: Counter[str] = Counter()
    for number in numbers:
        frame = scene.seen(number)
        kinds = judge(monitor, frame, preprocess(frame), number / scene.rate)
        wrong.update([*kinds, *(["any"] if kinds else [])])
    return len(numbers), wrong


def judge(monitor: Monitor, frame: Image, tensor: Image, timestamp: float) -> list[str]:
    """Return the kinds of what is wrong with a frame."""
    return [finding.kind for finding in monitor.look(tensor[None], frame.shape, timestamp, frame=frame)]


class Bench:
    """One source at one size of the model's picture.

    Args:
        scene: The source.
        preprocess: Brings frames to the model's size.
    """

    def __init__(self, scene: Scene, preprocess: Preprocess) -> None:
        self._scene, self._preprocess = scene, preprocess
        self._reference = reference_of(scene, preprocess)
        self._second, self._onsets = int(scene.rate), scene.onsets()
        self.name = f"{scene.name}, {preprocess.size[1]} {preprocess.resize.mode}"

    def promise(self, name: str, times: int, seed: int) -> str:
        """Return the least strength of a fault that is promised to be found, and the share that is found."""
        least = self._reference.finds[name]
        if least is None:
            return "-"
        return f"{least:g}: {self.share(tried(name, least), '', times, seed)[0]:.1%}"

    def share(self, fault: Fault, kind: str, times: int, seed: int) -> tuple[float, float]:
        """Throw in a fault so many times; return how often it was found, and how often under its own name."""
        rng = np.random.default_rng(seed)
        runs = [self._run(fault, kind, int(rng.choice(self._onsets)), rng) for _ in range(times)]
        return sum(found for found, _ in runs) / times, sum(named for _, named in runs) / times

    def _run(self, fault: Fault, kind: str, onset: int, rng: np.random.Generator) -> tuple[bool, bool]:
        """Show half a second of sound pictures, then at most a second of the fault."""
        scene, monitor, found = self._scene, Monitor(self._reference, None, self._preprocess), False
        for number in range(onset - self._second // 2, onset + self._second):
            is_sound = number < onset
            frame = scene.seen(number) if is_sound else fault(scene, number, onset, rng, self._preprocess)
            kinds = judge(monitor, frame, self._preprocess(frame), number / scene.rate)
            if not is_sound and kind in kinds:
                return True, True
            found = found or (bool(kinds) and not is_sound)
        return found, False


def blurred(radius: float) -> Fault:
    """Blur by a deviation of ``radius`` pixels of the model's picture."""

    def fault(scene: Scene, number: int, onset: int, rng: np.random.Generator, preprocess: Preprocess) -> Image:
        frame = scene.seen(number)
        scale = preprocess.geometry(*frame.shape[:2]).scale
        return cv2.GaussianBlur(frame, (0, 0), radius / scale[0], sigmaY=radius / scale[1])

    return fault


@cache
def _noise(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def noisy(deviation: float) -> Fault:
    """Add noise of ``deviation`` grey levels to the frame, every channel by itself."""

    def fault(scene: Scene, number: int, onset: int, rng: np.random.Generator, preprocess: Preprocess) -> Image:
        frame = scene.seen(number)
        moved = np.roll(_noise(frame.shape), int(rng.integers(frame.shape[0])), 0)
        return np.clip(frame + deviation * moved, 0, 255).astype(np.uint8)

    return fault


def shifted(share: float) -> Fault:
    """Move the camera by ``share`` of the picture's width."""
    return lambda scene, number, onset, rng, preprocess: scene.seen(number, share)


def flat(value: int) -> Fault:
    """Show one grey level, with the noise of a covered or blinded sensor."""

    def fault(scene: Scene, number: int, onset: int, rng: np.random.Generator, preprocess: Preprocess) -> Image:
        frame = scene.seen(number)
        return np.clip(value + 2 * _noise(frame.shape), 0, 255).astype(np.uint8)

    return fault


def frozen(scene: Scene, number: int, onset: int, rng: np.random.Generator, preprocess: Preprocess) -> Image:
    """Show the last sound frame again and again."""
    return scene.seen(onset - 1)


def other(stranger: Scene) -> Fault:
    """Show another camera's pictures, as they come, at this camera's frame size."""

    def fault(scene: Scene, number: int, onset: int, rng: np.random.Generator, preprocess: Preprocess) -> Image:
        height, width = scene.seen(number).shape[:2]
        return cv2.resize(stranger.seen(number % stranger.count), (width, height), interpolation=cv2.INTER_AREA)

    return fault


def tried(name: str, strength: float) -> Fault:
    """Put in a fault as calibration does."""
    return lambda scene, number, onset, rng, preprocess: FAULTS[name].apply(scene.seen(number), strength)


def faults(scene: Scene, scenes: Sequence[Scene]) -> Iterator[tuple[str, str, Fault]]:
    """Yield each fault: its row, the kind of finding, and what it shows."""
    yield "black", "black", flat(4)
    yield "white", "saturated", flat(253)
    yield "frozen", "frozen", frozen
    for radius in BLURS:
        yield f"blur {radius:g} px", "blurred", blurred(radius)
    for share in SHIFTS:
        yield f"shift {share:.0%}", "shifted", shifted(share)
    for deviation in NOISES:
        yield f"noise {deviation}", "noisy", noisy(deviation)
    for stranger in scenes:
        if stranger is not scene:
            yield f"camera: {stranger.name}", "unlike", other(stranger)


def costs() -> None:
    """Print microseconds of a look: the quick one of every frame, and the thorough one."""
    print("\n| input | black and white | a look without thorough check | a thorough look |\n|---|---|---|---|")
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), (0, 0), 3)
    for side in (128, 224, 320):
        preprocess = Preprocess((side, side), 3)
        gatherer = Gatherer()
        for index in range(40):
            gatherer.add(preprocess(picture[index:, index:]), (side, side, 3))
        tensor = preprocess(picture)[None]
        print(f"| {side} x {side} | {' | '.join(f'{value:.1f}' for value in _costs(tensor, gatherer.reference()))} |")


def _costs(tensor: Image, reference: Reference | None) -> Iterator[float]:
    yield micro(lambda: (is_black(tensor[0]), is_saturated(tensor[0])))
    for pause in (0.0, 0.03):
        monitor, times = Monitor(reference), count(1)

        def look(monitor: Monitor = monitor, times: Iterator[int] = times, pause: float = pause) -> None:
            monitor.look(tensor, tensor.shape[1:], next(times) * pause)

        yield micro(look)


def micro(step: Callable[[], object]) -> float:
    """Return the microseconds of a step, the best of many turns."""
    return min(timeit.repeat(step, number=100, repeat=50)) * 1e4


def table(scenes: Sequence[Scene], strangers: Sequence[Scene], times: int) -> None:
    """Print one row for every fault, one column for every source and input size."""
    columns = [(scene, size) for scene in scenes for size in SIZES]
    print("| fault | " + " | ".join(f"{scene.name}, {name}" for scene, (name, _) in columns) + " |")
    print("|---|" + "---|" * len(columns), flush=True)
    for row, first in (("none", None), ("none, calibrated on the first 40 %", 0.4)):
        cells = [_alarms(*false_alarms(scene, preprocess, first)) for scene, (_, preprocess) in columns]
        print(f"| {row} | " + " | ".join(cells) + " |", flush=True)
    benches = [Bench(scene, preprocess) for scene, (_, preprocess) in columns]
    known = [{row: (kind, fault) for row, kind, fault in faults(scene, strangers)} for scene, _ in columns]
    for number, row in enumerate(dict.fromkeys(row for each in known for row in each)):
        pairs = zip(benches, known, strict=True)
        cells = [_shares(bench, *each[row], times, number) if row in each else "" for bench, each in pairs]
        print(f"| {row} | " + " | ".join(cells) + " |", flush=True)
    promises(benches, times)


def promises(benches: Sequence[Bench], times: int) -> None:
    """Print what calibration promises to find, and in how many sequences that is found within a second."""
    print("\n| promised | " + " | ".join(bench.name for bench in benches) + " |")
    print("|---|" + "---|" * len(benches), flush=True)
    for seed, name in enumerate(FAULTS):
        cells = [bench.promise(name, times, seed) for bench in benches]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _shares(bench: Bench, kind: str, fault: Fault, times: int, seed: int) -> str:
    found, named = bench.share(fault, kind, times, seed)
    return f"{found:.0%}" + ("" if named == found else f" ({named:.0%})")


def _alarms(total: int, wrong: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in wrong.items() if kind != "any")
    return f"{wrong['any']} of {total}" + (f" ({kinds})" if kinds else "")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=20, help="of each fault, source and input size")
    parser.add_argument("--only", help="only sources whose name begins so")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = Path(os.environ.get("EDGECNN_DATA", "../shared/data"))
    pictures = tiles(data)[:PARTS]
    scenes = [video(data / "video" / "conveyor-bottles.mp4"), video(data / "video" / "road-solidWhiteRight.mp4")]
    scenes.append(parts("tiles", pictures, 0.7))
    drawn = [item.frame for item in surfaces(PARTS, 0)]
    more = [parts("tiles close", pictures, 1.4), parts("surfaces", drawn, 0.7), parts("surfaces close", drawn, 1.4)]
    chosen = [scene for scene in (*scenes, *more) if scene.name.startswith(options.only or "")]
    print("Share of sequences found within 1 s; in brackets under the fault's own name where that is less.\n")
    table(chosen, scenes, options.sequences)
    costs()


if __name__ == "__main__":
    main()
