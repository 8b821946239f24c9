"""A quantised model beside the float model, on the same pictures, by the engine that a user would take for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lite0 import Frame, Logits, network_input, session

from edgecnn.affine import dequantise
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.evaluation.statistics import agreement, sqnr_db
from edgecnn.runtime.model import load_entry

ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT"}
Tensor = npt.NDArray[np.float32]
Run = Callable[[Tensor], Logits]
Predict = Callable[[Frame], Logits]
Figures = dict[str, dict[str, float]]


def figures(reference: Logits, values: Logits, labels: npt.NDArray[np.int64]) -> Figures:
    """Return top-1, agreement and SQNR of each half of the pictures and of all.

    Recipes may be tuned on the even rows of the table, so only the odd rows are a fair test of them.
    """
    halves = {"even": slice(0, None, 2), "odd": slice(1, None, 2), "all": slice(None)}
    return {name: _figures(reference[rows], values[rows], labels[rows]) for name, rows in halves.items()}


def _figures(reference: Logits, values: Logits, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    return {
        "top1": float(np.mean(values.argmax(1) == labels)),
        "agreement": agreement(reference.argmax(1), values.argmax(1)),
        "sqnr_db": sqnr_db(reference, values),
    }


def onnx_runtime(path: Path, threads: int) -> Run:
    """Open an ONNX model that takes the network's float input."""
    runner = session(path, threads)
    name = runner.get_inputs()[0].name
    return lambda tensor: runner.run(None, {name: tensor})[0].reshape(-1)


def openvino(path: Path, threads: int) -> Run:
    """Open an ONNX model, as OpenVINO converts it, or an OpenVINO IR; both take the network's float input."""
    import openvino as ov

    # Without the first hint this engine may compute what is left in float in bfloat16.
    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = ov.Core().compile_model(str(path), "CPU", hints).create_infer_request()
    return lambda tensor: request.infer([tensor])[0].reshape(-1).copy()


def litert(path: Path, threads: int) -> Run:
    """Open a TFLite model whose input is the network's, float or int8, NHWC."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=threads)
    runner.allocate_tensors()
    source, sink = runner.get_input_details()[0], runner.get_output_details()[0]

    def run(tensor: Tensor) -> Logits:
        runner.set_tensor(source["index"], _to_grid(tensor.transpose(0, 2, 3, 1), source))
        runner.invoke()
        return _from_grid(runner.get_tensor(sink["index"]), sink).reshape(-1)

    return run


def _to_grid(values: npt.NDArray[np.float32], details: dict[str, Any]) -> npt.NDArray[Any]:
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    limits = np.iinfo(details["dtype"])
    integers: npt.NDArray[Any] = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max)
    return integers.astype(details["dtype"])


def _from_grid(values: npt.NDArray[Any], details: dict[str, Any]) -> Logits:
    scale, zero_point = details["quantization"]
    return values if not scale else (values.astype(np.float32) - zero_point) * scale


# The first engine is the one that a file's figures are of.
FILES: dict[str, dict[str, Callable[[Path, int], Run]]] = {
    "model.onnx": {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino},
    "model.xml": {"OpenVINO": openvino},
    "model.tflite": {"LiteRT": litert},
}


def predictors(folder: Path, threads: int, stack: ExitStack) -> Iterator[tuple[str, Callable[[], Predict]]]:
    """Return what opens the quantised model in ``folder``, by engine: our bundle, or a peer's file."""
    if (folder / "manifest.json").exists():
        bundle = stack.enter_context(Bundle.open(folder))
        for entry in bundle.engines:
            yield ENGINES[entry.name], partial(_of_bundle, bundle, entry, threads, stack)
    for name, engines in FILES.items():
        if (folder / name).exists() and not (folder / "manifest.json").exists():
            for engine, open_model in engines.items():
                yield engine, partial(_of_file, open_model, folder / name, threads)


def _of_file(open_model: Callable[[Path, int], Run], path: Path, threads: int) -> Predict:
    run = open_model(path, threads)
    return lambda frame: run(network_input(frame))


def _of_bundle(bundle: Bundle, entry: Any, threads: int, stack: ExitStack) -> Predict:
    engine = stack.enter_context(load_entry(bundle, entry, threads))
    grid = bundle.manifest.outputs[0].tensor.quant
    if grid is None:
        raise ValueError("expected the bundle's output to be quantised")
    return lambda frame: dequantise(engine.run([frame[None]])[0], grid).reshape(-1)


def outputs(folder: Path, frames: list[Frame], threads: int) -> Iterator[tuple[str, Logits | str]]:
    """Return the logits (pictures, classes) from every engine that the model in ``folder`` is for, or why it cannot."""
    with ExitStack() as stack:
        for engine, open_model in predictors(folder, threads, stack):
            try:
                predict = open_model()
                yield engine, np.stack([predict(frame) for frame in frames])
            except Exception as error:  # an engine may raise anything for a file that it cannot run
                yield engine, f"cannot run it: {(str(error).splitlines() or [repr(error)])[0][:80]}"


def judge(
    folder: Path, frames: list[Frame], labels: npt.NDArray[np.int64], reference: Logits, threads: int
) -> dict[str, Figures | str]:
    """Return the figures of every engine that the quantised model in ``folder`` is for, or why it cannot run it."""
    found = outputs(folder, frames, threads)
    return {name: got if isinstance(got, str) else figures(reference, got, labels) for name, got in found}
