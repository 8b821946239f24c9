"""Run the float graph on calibration frames and keep statistics of the tensors that need a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort

from edgecnn.errors import CalibrationError
from edgecnn.quant.statistics import Statistics

Frame = npt.NDArray[np.uint8]


def session(model: onnx.ModelProto, threads: int = 2) -> ort.InferenceSession:
    """Make an ONNX Runtime session on the CPU that says nothing but errors."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def with_outputs(model: ir.Model, names: Sequence[str]) -> onnx.ModelProto:
    """Return ``model`` as a proto whose outputs are exactly ``names``."""
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return proto


def collect(
    model: ir.Model,
    names: Sequence[str],
    frames: Iterable[Frame],
    histogram: bool,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Statistics]:
    """Stream ``frames`` through ``model`` and gather statistics of the tensors ``names``.

    Args:
        model: Float graph with one uint8 NHWC input.
        names: Tensors to observe.
        frames: uint8 frames of shape (H, W, C) as the model takes them.
        histogram: Whether distributions are needed, not only the ends.
        progress: Called once a frame.

    Raises:
        CalibrationError: If there is no frame, or a tensor takes values that are not finite.
    """
    runner = session(with_outputs(model, names))
    entry = runner.get_inputs()[0].name
    statistics = {name: Statistics(name) for name in names}
    count = 0
    for frame in frames:
        for name, values in zip(names, runner.run(list(names), {entry: frame[None]}), strict=True):
            statistics[name].update(values, histogram)
        count += 1
        progress()
    if count == 0:
        raise CalibrationError("calibration needs at least one image, got none; give a folder with --calibrate")
    return statistics
