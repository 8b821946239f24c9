"""How fast a bundle is on the machine at hand, measured from a camera's frame to the result."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError
from edgecnn.runtime.engines import usable_processors
from edgecnn.runtime.model import Model, load

Image = npt.NDArray[np.uint8]

FRAME_SIZE = (720, 1280)
_CHILD_LIMIT_SECONDS = 300


@dataclass(frozen=True)
class Timing:
    """Times of one thing in milliseconds: median, 95th and 99th percentile, and the best."""

    median: float
    p95: float
    p99: float
    best: float

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarise durations given in seconds."""
        values = 1e3 * np.asarray(seconds)
        median, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
        return cls(median, p95, p99, float(values.min()))


@dataclass(frozen=True)
class FirstResult:
    """What a fresh process needed.

    Attributes:
        milliseconds: From the start of the process to its first result: imports, checks, loading, self-test, one frame.
        peak_mib: Most memory the process ever held (VmHWM), in MiB; None where the system does not say.
    """

    milliseconds: float
    peak_mib: float | None


@dataclass(frozen=True)
class Bench:
    """One measurement.

    Attributes:
        bundle: The bundle's name.
        engine: The engine that ran it.
        proof: What its self-test found, a word of `edgecnn.proof`.
        threads: Threads for one inference.
        runs: Frames measured, after ``warm_up`` frames that were not.
        warm_up: See ``runs``.
        frame: Height and width of the frames given.
        preprocess: Bringing a frame to the model's size.
        inference: The engine alone.
        total: From frame to decision.
        first_result: In a fresh process, None where none could be started.
        machine: What was measured on.
    """

    bundle: str
    engine: str
    proof: str
    threads: int
    runs: int
    warm_up: int
    frame: tuple[int, int]
    preprocess: Timing
    inference: Timing
    total: Timing
    first_result: FirstResult | None
    machine: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; times are milliseconds."""
        return dataclasses.asdict(self)


def bench(path: Path, engine: str | None = None, threads: int | None = None, runs: int = 100) -> Bench:
    """Measure a bundle.

    Args:
        path: The bundle.
        engine: Another engine than the bundle's own.
        threads: Threads for one inference, None for one per usable processor.
        runs: Frames to measure.

    Raises:
        OptionError: If ``runs`` or ``threads`` is less than 1.
        EdgecnnError: What `edgecnn.load` raises.
    """
    for name, value in (("runs", runs), ("threads", threads)):
        if value is not None and value < 1:
            raise OptionError(f"{name} must be at least 1, got {value}")
    warm_up = max(3, runs // 10)
    with load(path, engine, threads) as model:
        timings = _measure(model, camera_frame(model.preprocess.channels), warm_up, runs)
        name, engine_name, proof = model.manifest.name, model.engine_name, model.proof
    first = first_result(path, engine, threads)  # last: the artefact's trial is behind it, as it is in daily use
    used = threads or usable_processors()
    return Bench(name, engine_name, proof, used, runs, warm_up, FRAME_SIZE, *timings, first, machine())


def camera_frame(channels: int) -> Image:
    """Return a 720p frame with content at all scales, always the same: (720, 1280, channels) uint8."""
    height, width = FRAME_SIZE
    noise = np.random.default_rng(0).integers(0, 64, (height, width, channels), dtype=np.uint8)
    rows = (np.arange(height) // 8).astype(np.uint8)
    columns = (np.arange(width) // 16).astype(np.uint8)
    frame: Image = noise + np.add.outer(rows, columns)[..., None]
    return frame


def first_result(path: Path, engine: str | None = None, threads: int | None = None) -> FirstResult | None:
    """Measure the first result in a fresh process.

    Returns:
        None where no process can be started or it fails; then the same error comes from running here.
    """
    request = json.dumps({"bundle": str(path), "engine": engine, "threads": threads})
    begun = time.monotonic()
    try:
        command = [sys.executable, "-m", "edgecnn.runtime.bench", request]
        child = subprocess.run(command, capture_output=True, text=True, timeout=_CHILD_LIMIT_SECONDS, check=True)
        answer = json.loads(child.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return FirstResult(1e3 * (answer["finished"] - begun), answer["peak_mib"])


def peak_memory_mib() -> float | None:
    """Return the most memory that this process ever held, in MiB; None where the system does not say.

    Source: ``VmHWM`` of ``/proc/self/status``, Linux proc(5).
    """
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


def machine() -> dict[str, str]:
    """Say what machine this is: processor, architecture, processors usable, system, Python."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "processors": str(usable_processors()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Return the processor's name; a Raspberry Pi says it under ``Model``."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown"


def _measure(model: Model, frame: Image, warm_up: int, runs: int) -> tuple[Timing, Timing, Timing]:
    """Time preprocessing, inference and the whole, each on its own after the same warm-up."""
    tensor = model.preprocess(frame)[None]
    steps: tuple[Callable[[], object], ...] = (
        lambda: model.preprocess(frame),
        lambda: model.run(tensor),
        lambda: model(frame),
    )
    preprocess, inference, total = (_time(step, warm_up, runs) for step in steps)
    return preprocess, inference, total


def _time(step: Callable[[], object], warm_up: int, runs: int) -> Timing:
    for _ in range(warm_up):
        step()
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    return Timing.of(seconds)


def _answer_first_result(request: str) -> None:
    """Be the fresh process: load, run one frame, and print when that was done (system-wide clock) and the memory."""
    wanted = json.loads(request)
    with load(wanted["bundle"], wanted["engine"], wanted["threads"]) as model:
        model(camera_frame(model.preprocess.channels))
        finished = time.monotonic()
        print(json.dumps({"finished": finished, "peak_mib": peak_memory_mib()}))


if __name__ == "__main__":
    _answer_first_result(sys.argv[1])
