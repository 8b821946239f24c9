"""How long EfficientNet-Lite0 takes for one picture: float, ``quantize_static``, and our bundle on three engines.

    EDGECNN_DATA=../shared/data python benchmarks/latency.py

All contenders take short turns, so that whatever else the machine does meets all of them alike: read the ratios. Our
bundle takes the uint8 frame; the others take a float tensor, and making that from a frame is not counted against them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import efficientnet
import judge
import lite0
import numpy as np
import processes

from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import load_entry

BASE = f"ONNX Runtime, {efficientnet.PEER}"
# An engine's threads keep a processor busy for some milliseconds after its last inference: the next one's first ones.
LEFT_OUT, COUNTED = 5, 10
Step = Callable[[], object]


def contenders(work: Path, threads: int, frame: lite0.Frame, stack: ExitStack) -> dict[str, Step]:
    """Return one inference of each contender."""
    model, peer = lite0.float_model(work), work / efficientnet.PEER / "model.onnx"
    runners = {
        "ONNX Runtime, float": judge.onnx_runtime(model, threads),
        BASE: judge.onnx_runtime(peer, threads),
        "OpenVINO, float": judge.openvino(model, threads),
        f"OpenVINO, {efficientnet.PEER}": judge.openvino(peer, threads),
    }
    tensor = lite0.network_input(frame)
    steps: dict[str, Step] = {name: partial(run, tensor) for name, run in runners.items()}
    bundle = stack.enter_context(Bundle.open(work / "efficientnet"))
    for entry in bundle.engines:
        engine = stack.enter_context(load_entry(bundle, entry, threads))
        steps[f"{judge.ENGINES[entry.name]}, edgecnn"] = partial(engine.run, [frame[None]])
    return steps


def measure(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each contender; all have a turn in every round, in an order that changes."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    order, shuffle = list(steps), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            times[name] += turn(steps[name])
    return {name: statistics.median(values) for name, values in times.items()}


def turn(step: Step) -> list[float]:
    """Return the milliseconds of some inferences in a row, the first ones left out."""
    times = []
    for _ in range(LEFT_OUT + COUNTED):
        begun = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - begun))
    return times[LEFT_OUT:]


def main() -> None:
    """Make what is missing, measure with one thread and with two, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=lite0.DATA)
    parser.add_argument("--work", type=Path, default=lite0.WORK)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "efficientnet").exists():
        efficientnet.quantise_ours(arguments.data, work, "default")
    if not (work / efficientnet.PEER / "model.onnx").exists():
        efficientnet.quantise_peer(arguments.data, work)
    frame = np.random.default_rng(0).integers(0, 256, (lite0.SIZE, lite0.SIZE, 3), np.uint8)
    processes.on_cpus(max(arguments.threads))
    found = {}
    for threads in arguments.threads:
        with ExitStack() as stack:
            found[threads] = measure(contenders(work, threads, frame, stack), arguments.rounds)
    show(found)


def show(found: dict[int, dict[str, float]]) -> None:
    """Print median milliseconds, and how many times faster than `BASE` each is."""
    print(f"{'milliseconds a picture, median':36}" + "".join(f"{f'{threads} thread(s)':>22}" for threads in found))
    for name in next(iter(found.values())):
        cells = (f"{times[name]:12.2f}{times[BASE] / times[name]:8.2f} x" for times in found.values())
        print(f"{name:36}{''.join(cells)}")
    print(f"x: times faster than {BASE}")


if __name__ == "__main__":
    main()
