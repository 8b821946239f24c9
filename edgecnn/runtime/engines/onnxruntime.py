"""ONNX Runtime on the CPU, for ``.onnx`` files.

One inference at a time, on an explicit number of threads. Idle threads do not spin: a camera loop waits most of the
time, and spinning doubles the processor time for about 5 % of speed.

Of weights with wide pairs, which older bundles have, products would saturate on x86 processors without VNNI: there the
session is told to keep them exact, at about the speed of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn import limits
from edgecnn.boundary import read_bytes
from edgecnn.errors import EngineError
from edgecnn.runtime.engines import (
    Array,
    EngineBase,
    _onnx_file,
    check_inputs,
    check_tensor,
    missing,
    pair_by_name,
    usable_processors,
)
from edgecnn.tensor import TensorSpec

NAME = "ONNX Runtime"
REQUIREMENT = "edgecnn[rpi]"

_DTYPES = {"tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(int64)": "int64", "tensor(float)": "float32"}
_ERRORS_ONLY = 3


class OnnxRuntimeEngine(EngineBase):
    """An inference session; see `edgecnn.runtime.engines.Engine`."""

    def __init__(self, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        super().__init__(inputs, outputs)
        self._session = session
        self._output_names = [spec.name for spec in outputs]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Execute the model once; the session allocates new outputs for every call.

        Raises:
            EngineError: On a wrong input, after `close`, or if the session fails.
        """
        check_inputs(arrays, self.inputs)
        if self._session is None:
            raise EngineError("the engine was closed.")
        feed = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            results = self._session.run(self._output_names, feed)
        except Exception as error:
            raise EngineError(f"{NAME} failed: {error}") from error
        return [np.asarray(result) for result in results]

    def close(self) -> None:
        """Release the session. A second call does nothing."""
        self._session = None


def load(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    threads: int | None = None,
    wide_pairs: bool = False,
) -> OnnxRuntimeEngine:
    """Load an ONNX file; see `edgecnn.runtime.engines.EngineModule.load`.

    Raises:
        MissingEngineError: If onnxruntime is not installed.
        EngineError: If the file cannot be loaded, or takes or returns something else.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(NAME, REQUIREMENT, error) from error
    content = read_bytes(path, limits.MODEL, EngineError)
    _onnx_file.check(content, path.name)
    options = _options(onnxruntime, threads, wide_pairs)
    # What runs in a factory does not report to anybody.
    onnxruntime.disable_telemetry_events()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"{path.name}: {NAME} {onnxruntime.__version__} cannot load it: {error}") from error
    _check(path, "input", inputs, session.get_inputs())
    _check(path, "output", outputs, session.get_outputs())
    return OnnxRuntimeEngine(session, inputs, outputs)


def _options(onnxruntime: Any, threads: int | None, wide_pairs: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_processors()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if wide_pairs:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _check(path: Path, kind: str, specs: Sequence[TensorSpec], found: Sequence[Any]) -> None:
    for spec, tensor in pair_by_name(path, kind, specs, {item.name: item for item in found}):
        # ONNX Runtime forgets sizes that it cannot infer, e.g. the channels of a depthwise ConvTranspose.
        shape = [wanted if got is None else got for got, wanted in zip(tensor.shape, spec.shape, strict=False)]
        shape += tensor.shape[len(shape) :]
        check_tensor(kind, spec, shape, _DTYPES.get(tensor.type, tensor.type), path)
