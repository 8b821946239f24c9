"""How long a trained bundle takes for a frame on one thread, and what of it an Edge TPU would run."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.profile import load_target
from edgecnn.runtime.model import Model, load

Image = npt.NDArray[np.uint8]

LEFT_OUT, COUNTED = 5, 10
"""Frames of a turn: the first ones find the caches full of another engine's weights, and do not count."""
INSPECTED = (256, 256)
ROAD = (640, 360)
"""(width, height) of the frames."""


def frames_in(folder: Path, size: tuple[int, int], count: int = 20) -> list[Image]:
    """Return some pictures of a folder, evenly taken, at a size (width, height)."""
    paths = sorted(path for path in (folder / "images").rglob("*") if path.is_file())
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
    return [cv2.resize(cv2.imread(str(paths[place])), size) for place in places]


def measure(bundle: Path, engines: Sequence[str], frames: Sequence[Image], count: int) -> dict[str, Any]:
    """Return median and 95th percentile, in milliseconds, of at least ``count`` frames for each engine.

    A frame is brought to the model's size, run and decoded, regions or lanes in its own pixels. The engines take turns
    in an order that changes, so that whatever else the machine does meets all alike.
    """
    cv2.setNumThreads(1)
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    order, shuffle = list(engines), random.Random(0).shuffle
    with ExitStack() as stack:
        models = {engine: stack.enter_context(load(bundle, engine, threads=1)) for engine in engines}
        for _ in range(-(-count // COUNTED)):
            shuffle(order)
            for engine in order:
                times[engine] += _turn(models[engine], frames, len(times[engine]))
    return {
        engine: {"frames": len(found), "median": float(np.median(found)), "p95": float(np.percentile(found, 95))}
        for engine, found in times.items()
    }


def _turn(model: Model, frames: Sequence[Image], first: int) -> list[float]:
    """Return the milliseconds of some frames in a row."""
    found = []
    for index in range(LEFT_OUT + COUNTED):
        frame = frames[(first + index) % len(frames)]
        begun = time.perf_counter()
        model.infer(model.prepare(frame), frame.shape)
        found.append(1e3 * (time.perf_counter() - begun))
    return found[LEFT_OUT:]


def edge_tpu(bundle: Path) -> dict[str, Any]:
    """Return how many ops there are, how many map on the Edge TPU, and what its memory has room for."""
    command = [sys.executable, "-m", "edgecnn.cli.app", "inspect", str(bundle), "--target", "coral", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    target = found["targets"][0]
    rows, limits = target["edge_tpu"], load_target("coral").edge_tpu
    if limits is None:
        raise SystemExit("the target coral has no Edge TPU any more")
    return {
        "ops": len(rows),
        "mapped": sum(row["maps"] for row in rows),
        "parameters": found["parameters"],
        "sram_bytes": limits.sram_bytes,
        "weight_bytes": limits.weight_bytes,
        "remark": target["remark"],
    }
