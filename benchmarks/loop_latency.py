"""How old a frame is when its verdict comes, while the camera is faster than the model.

    python benchmarks/loop_latency.py --minutes 10

A source of 60 frames a second, 720p, and the built-in model made to take 100 ms: nine of ten frames cannot be looked
at. The age must stay below one model time and two frame times, and must not grow.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from loop_overhead import TARGETS, camera_frames, export_built_in

import edgecnn
from edgecnn.runtime.engines import Array, Engine
from edgecnn.runtime.sources import Frame
from edgecnn.vision.synthetic.surfaces import calibration_frames

FPS, MODEL_SECONDS = 60, 0.1
BOUND = MODEL_SECONDS + 2 / FPS


class Camera:
    """Gives frames at a steady pace, like a camera: a late reader gets no older ones."""

    LIVE = True

    def __init__(self, frames: Sequence[np.ndarray]) -> None:
        self._frames, self._next, self._due = frames, 0, 0.0

    def open(self) -> None:
        """Begin to count."""
        self._due = time.monotonic()

    def read(self) -> Frame:
        """Wait for the next frame's time."""
        self._due += 1 / FPS
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._next += 1
        return Frame(self._frames[self._next % len(self._frames)])

    def close(self) -> None:
        """Nothing to close."""


class SlowEngine:
    """An engine that takes its time."""

    def __init__(self, real: Engine) -> None:
        self._real, self.inputs, self.outputs = real, real.inputs, real.outputs

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run the real engine, and wait until `MODEL_SECONDS` are over."""
        until = time.monotonic() + MODEL_SECONDS
        outputs = self._real.run(arrays)
        time.sleep(max(0.0, until - time.monotonic()))
        return outputs

    def close(self) -> None:
        """Close the real engine."""
        self._real.close()


def main() -> None:
    """Watch for some minutes and print one row a minute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    print(f"{FPS} frames a second, a model of {1e3 * MODEL_SECONDS:g} ms: bound {1e3 * BOUND:.0f} ms")
    print(f"{'minute':>8}{'verdicts':>10}{'dropped':>9}{'median ms':>11}{'p99 ms':>9}{'largest':>9}{'above':>7}")
    with tempfile.TemporaryDirectory() as scratch:
        bundle = export_built_in(Path(scratch) / "bundle", TARGETS[:2])
        with edgecnn.load(bundle, threads=1) as model:
            model._engine = SlowEngine(model._engine)
            watch(model, minutes)


def watch(model: edgecnn.runtime.model.Model, minutes: float) -> None:
    """Print a row for every minute."""
    frames = camera_frames(next(calibration_frames(1)))
    ages: list[float] = []
    dropped, begun, minute = 0, time.monotonic(), 1
    with model.watch(Camera(frames)) as loop:
        for seen in loop:
            ages.append(1e3 * seen.age)
            dropped += seen.dropped
            done = time.monotonic() - begun >= 60 * minutes
            if done or time.monotonic() - begun >= 60 * minute:
                row(minute, ages, dropped)
                ages, dropped, minute = [], 0, minute + 1
            if done:
                break


def row(minute: int, ages: Sequence[float], dropped: int) -> None:
    """Print one minute."""
    values = np.asarray(ages)
    middle, most = np.percentile(values, (50, 99))
    above = int(np.count_nonzero(values > 1e3 * BOUND))
    print(f"{minute:8}{len(ages):10}{dropped:9}{middle:11.1f}{most:9.1f}{values.max():9.1f}{above:7}", flush=True)


if __name__ == "__main__":
    main()
