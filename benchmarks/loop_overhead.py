"""What the camera loop costs beside the engine: 720p frames, one thread, each engine, all in one run.

    EDGECNN_DATA=../shared/data python benchmarks/loop_overhead.py

Three ways to a verdict take short turns, so that whatever else the machine does meets all of them alike:

- bare: bring the frame to the model's size, call the engine, nothing else;
- loop: ``for seen in model.watch(source)``: health of the picture, decoding, debouncing, figures, hand-over between
  threads;
- script: what people write: cv2.resize, RGB, float32, normalise, transpose, ``session.run``, softmax; for the built-in
  model also the outlines of what its map marks. It runs the model as ``quantize_static`` made it from the same float
  model (on LiteRT our file, to which it quantises its float input).
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import efficientnet
import judge
import lite0
import numpy as np
import processes

import edgecnn
from edgecnn.composer.source import open_model
from edgecnn.runtime.bench import FRAME_SIZE
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.sources import Frame
from edgecnn.vision.frames import list_images
from edgecnn.vision.read import read_image
from edgecnn.vision.synthetic.surfaces import calibration_frames, surfaces

LEFT_OUT, COUNTED = 3, 20
TARGETS = ("--target", "rpi", "--target", "intel", "--target", "coral")
Step = Callable[[], object]
Script = Callable[[np.ndarray], object]
Runner = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A model: our bundle, the scripts of a user by engine, and frames of the kind that it was calibrated on."""

    name: str
    bundle: Path
    scripts: dict[str, Script]
    frames: list[np.ndarray]


class Endless:
    """A source in memory: a few 720p frames, again and again, as fast as they are asked for."""

    LIVE = False

    def __init__(self, frames: list[np.ndarray]) -> None:
        self._frames = [Frame(frame) for frame in frames]
        self._next = 0

    def open(self) -> None:
        """Nothing to open."""

    def read(self) -> Frame:
        """Return the next frame."""
        self._next += 1
        return self._frames[self._next % len(self._frames)]

    def close(self) -> None:
        """Nothing to close."""


def camera_frames(picture: np.ndarray) -> list[np.ndarray]:
    """Return 720p frames of one picture with the noise of a camera: alike, and none like the other."""
    height, width = FRAME_SIZE
    large, noise = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.random.default_rng(0)
    grains = [noise.integers(-2, 3, large.shape, np.int16) for _ in range(8)]
    return [np.clip(large + grain, 0, 255).astype(np.uint8) for grain in grains]


def defect_peer(work: Path) -> Path:
    """Write the built-in defect model as ``quantize_static`` makes it, once."""
    import onnx_ir as ir
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    source = open_model("defect")
    path = work / f"defect-{source.digest[:12]}-static.onnx"
    if path.exists():
        return path
    ir.save(source.model, work / "defect.onnx")
    name = str(source.model.graph.inputs[0].name)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._frames = calibration_frames(64)

        def get_next(self) -> dict[str, np.ndarray] | None:
            frame = next(self._frames, None)
            return None if frame is None else {name: normalised(frame, 0.5, 0.25, rgb=False)}

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(work / "defect.onnx"), str(path), Reader(), per_channel=True, **kinds)
    return path


def normalised(picture: np.ndarray, mean: float, std: float, rgb: bool) -> np.ndarray:
    """Return a BGR picture as scripts give it to networks: float32 (1, 3, H, W)."""
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if rgb else picture
    real = (picture.astype(np.float32) / 255.0 - mean) / std
    return np.ascontiguousarray(real.transpose(2, 0, 1))[None].astype(np.float32)


def cropped(frame: np.ndarray, size: int) -> np.ndarray:
    """Return the middle of a frame whose shorter side was brought to ``size``, as scripts for ImageNet networks do."""
    height, width = frame.shape[:2]
    scale = size / min(height, width)
    resized = cv2.resize(frame, (round(width * scale), round(height * scale)))
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return resized[top : top + size, left : left + size]


def scripts(model: Path, bundle: Path, size: int, mean: float, std: float) -> dict[str, Script]:
    """Return the script a user would write, for each engine; it prepares frames as the bundle does."""
    onnx_runtime, openvino = judge.onnx_runtime(model, 1), judge.openvino(model, 1)
    tflite = _interpreter(bundle / "model.tflite")

    def prepared(frame: np.ndarray) -> np.ndarray:
        return normalised(cropped(frame, size), mean, std, rgb=True)

    return {
        "onnxruntime": lambda frame: softmax(onnx_runtime(prepared(frame))),
        "openvino": lambda frame: softmax(openvino(prepared(frame))),
        "litert": lambda frame: softmax(tflite(prepared(frame))[0]),
    }


def inspecting(model: Path, bundle: Path, size: int) -> dict[str, Script]:
    """Return the script a user would write for a model that gives a map and classes, for each engine."""
    runners = _runners(model, bundle)

    def script(run: Runner) -> Script:
        def inspect(frame: np.ndarray) -> object:
            marks, classes = run(normalised(cv2.resize(frame, (size, size)), 0.5, 0.25, rgb=False))
            shares = 1.0 / (1.0 + np.exp(-marks.squeeze()))
            outlines, _ = cv2.findContours((shares > 0.68).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            return softmax(classes.reshape(-1)), [(cv2.boundingRect(line), cv2.contourArea(line)) for line in outlines]

        return inspect

    return {engine: script(run) for engine, run in runners.items()}


def _runners(model: Path, bundle: Path) -> dict[str, Runner]:
    """Return what gives the map and the classes of the network's float input, for each engine."""
    import openvino

    onnx_runtime = lite0.session(model, 1)
    name = onnx_runtime.get_inputs()[0].name
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(str(model), "CPU", hints).create_infer_request()

    def infer(tensor: np.ndarray) -> list[np.ndarray]:
        found = request.infer([tensor])
        return [found[0].copy(), found[1].copy()]

    tflite = _interpreter(bundle / "model.tflite")
    return {
        "onnxruntime": lambda tensor: onnx_runtime.run(None, {name: tensor}),
        "openvino": infer,
        "litert": lambda tensor: sorted(tflite(tensor), key=np.size, reverse=True),
    }


def softmax(values: np.ndarray) -> np.ndarray:
    """Return scores as a script computes them."""
    powers = np.exp(values.astype(np.float64) - values.max())
    return powers / powers.sum()


def _interpreter(path: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, leaves = interpreter.get_input_details()[0], interpreter.get_output_details()

    def run(tensor: np.ndarray) -> list[np.ndarray]:
        scale, zero = entry["quantization"]
        real = tensor.transpose(0, 2, 3, 1)
        limits, integers = np.iinfo(entry["dtype"]), np.round(real / scale) + zero
        interpreter.set_tensor(entry["index"], np.clip(integers, limits.min, limits.max).astype(entry["dtype"]))
        interpreter.invoke()
        found = []
        for leave in leaves:
            scale, zero = leave["quantization"]
            found.append((interpreter.get_tensor(leave["index"]).astype(np.float32) - zero) * scale)
        return found

    return run


def contenders(case: Case, engine: str, stack: ExitStack) -> dict[str, Step]:
    """Return one frame of each way."""
    model = stack.enter_context(edgecnn.load(case.bundle, engine, threads=1))
    loop: Iterator[Observation] = stack.enter_context(model.watch(Endless(case.frames)))
    script, frames = case.scripts[engine], itertools.cycle(case.frames)

    def turn_of_the_loop() -> None:
        if findings := next(loop).findings:
            raise SystemExit(f"the frames of this benchmark must be trusted by the loop: {findings[0].reason}")

    return {
        "bare": lambda: model.run(model.prepare(next(frames))),
        "loop": turn_of_the_loop,
        "script": lambda: script(next(frames)),
    }


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Return the mean milliseconds a frame of each way, per round; all have a turn in every round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    order, shuffle = list(steps), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            times[name].append(turn(steps[name]))
    return times


def turn(step: Step) -> float:
    """Return the mean milliseconds of some frames in a row, the first ones left out."""
    for _ in range(LEFT_OUT):
        step()
    begun = time.perf_counter()
    for _ in range(COUNTED):
        step()
    return 1e3 * (time.perf_counter() - begun) / COUNTED


def main() -> None:
    """Make what is missing, measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=lite0.DATA)
    parser.add_argument("--work", type=Path, default=lite0.WORK)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    made = prepare(arguments.data, work)
    processes.on_cpus(2)
    headings = (("bare", 9), ("loop", 9), ("ratio", 8), ("outside", 9), ("script", 9), ("x", 7))
    print(f"{'milliseconds a frame (median of means)':40}" + "".join(f"{name:>{width}}" for name, width in headings))
    for case in made:
        for engine in case.scripts:
            with ExitStack() as stack:
                show(case.name, engine, measure(contenders(case, engine, stack), arguments.rounds))
    print("ratio: loop / bare; outside: loop - bare; x: times faster than the script")


def prepare(data: Path, work: Path) -> list[Case]:
    """Return both models; makes what is missing."""
    ours, peer, built_in = work / "efficientnet", work / efficientnet.PEER / "model.onnx", work / "defect"
    if not ours.exists():
        efficientnet.quantise_ours(data, work, "fast")
    if not peer.exists():
        efficientnet.quantise_peer(data, work)
    export_built_in(built_in, TARGETS)
    photo = read_image(list_images(data / "imagenet" / "calibration")[0])
    drawn = inspecting(defect_peer(work), built_in, 128)
    real = scripts(peer, ours, lite0.SIZE, lite0.MEAN, lite0.STD)
    return [
        Case("built-in defect, PASS", built_in, drawn, camera_frames(_surface(defective=False))),
        Case("built-in defect, REJECT", built_in, drawn, camera_frames(_surface(defective=True))),
        Case("EfficientNet-Lite0", ours, real, camera_frames(photo)),
    ]


def _surface(defective: bool) -> np.ndarray:
    """Return a drawn surface."""
    return next(item.frame for item in surfaces(100, 0, "calibration") if (item.kind != "good") == defective)


def export_built_in(bundle: Path, targets: Sequence[str]) -> Path:
    """Export the built-in defect model; ``targets`` are options."""
    command = [sys.executable, "-m", "edgecnn.cli.app", "export", "-o", str(bundle), "--overwrite"]
    subprocess.run([*command, *targets], check=True, capture_output=True)
    return bundle


def show(name: str, engine: str, times: dict[str, list[float]]) -> None:
    """Print one row; differences are taken round by round, so that what slowed a whole round does not count."""
    bare, loop, script = (np.asarray(times[key]) for key in ("bare", "loop", "script"))
    middle = statistics.median
    print(
        f"{f'{name}, {judge.ENGINES[engine]}':40}{middle(bare):9.3f}{middle(loop):9.3f}{middle(loop / bare):8.3f}"
        f"{middle(loop - bare):9.3f}{middle(script):9.3f}{middle(script / loop):7.2f}"
    )


if __name__ == "__main__":
    main()
