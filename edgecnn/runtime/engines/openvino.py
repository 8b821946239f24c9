"""OpenVINO on the CPU, for ``.xml`` files with their ``.bin`` beside them.

One inference at a time, on an explicit number of threads. What an integer graph leaves in floating point is computed in
float32: without that hint a processor with bfloat16 silently uses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.errors import EngineError
from edgecnn.runtime.engines import (
    Array,
    EngineBase,
    check_inputs,
    check_tensor,
    missing,
    pair_by_name,
    usable_processors,
)
from edgecnn.tensor import TensorSpec

NAME = "OpenVINO"
REQUIREMENT = "edgecnn[intel]"

WIDE_PAIRS = (
    "{}: OpenVINO would compute wrong results on this processor: it has no VNNI, and the bundle comes from an older "
    "edgecnn, whose weights are not exact there. Export the model again, or run the bundle with another engine: "
    "onnxruntime, litert or reference."
)
_DEVICE = "CPU"
_DTYPES = {"u8": "uint8", "i8": "int8", "i32": "int32", "i64": "int64", "f32": "float32"}
# What the execution graph lists beside the layers that compute.
_PASSIVE = {"Input", "Const", "Output"}


class OpenVINOEngine(EngineBase):
    """A compiled model with one inference request; see `edgecnn.runtime.engines.Engine`.

    Args:
        model: Compiled, taking and returning exactly ``inputs`` and ``outputs``.
        inputs: Specs of the inputs.
        outputs: Specs of the outputs.
    """

    def __init__(self, model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        super().__init__(inputs, outputs)
        self._request = model.create_infer_request()

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Execute the model once; outputs are copied out of the request's buffers, which the next call overwrites.

        Raises:
            EngineError: On a wrong input, after `close`, or if the inference fails.
        """
        check_inputs(arrays, self.inputs)
        if self._request is None:
            raise EngineError("the engine was closed.")
        feed = {spec.name: np.ascontiguousarray(array) for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            self._request.infer(feed, share_inputs=True)
            return [np.array(self._request.get_tensor(spec.name).data) for spec in self.outputs]
        except Exception as error:
            raise EngineError(f"{NAME} failed: {error}") from error

    def close(self) -> None:
        """Release the request and the model. A second call does nothing."""
        self._request = None


def load(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    threads: int | None = None,
    wide_pairs: bool = False,
) -> OpenVINOEngine:
    """Load an IR file; see `edgecnn.runtime.engines.EngineModule.load`.

    Raises:
        MissingEngineError: If openvino is not installed.
        EngineError: If the file cannot be loaded, or takes or returns something else; or if ``wide_pairs``: this
            engine knows no exact way.
    """
    if wide_pairs:
        raise EngineError(WIDE_PAIRS.format(path.name))
    model = _compile(path, threads)
    _check(path, "input", inputs, model.inputs)
    _check(path, "output", outputs, model.outputs)
    return OpenVINOEngine(model, inputs, outputs)


def execution_precisions(path: Path) -> list[tuple[str, str, str]]:
    """Return how the CPU executes the layers of an IR file, in order of execution.

    Returns:
        Per layer that computes or moves data: the names of the file's nodes that it stands for (joined by commas),
        its type (``"Convolution"``, ...) and the precision it computes in (``"u8"``, ``"i8"``, ``"f32"``, ...).

    Raises:
        MissingEngineError: If openvino is not installed.
        EngineError: If the file cannot be loaded.
    """
    layers = []
    for node in _compile(path, 1).get_runtime_model().get_ordered_ops():
        kind, precision, names = (_said(node, key) for key in ("layerType", "runtimePrecision", "originalLayersNames"))
        if kind not in _PASSIVE and not _constant(node):
            layers.append((names or node.get_friendly_name(), kind, precision))
    return layers


def _said(node: Any, key: str) -> str:
    return str(node.rt_info[key].astype(str))


def _constant(node: Any) -> bool:
    """Tell whether ``node`` only prepares constants, which is done once, when the model is compiled."""
    sources = [port.get_source_output().get_node() for port in node.inputs()]
    return all(_said(source, "layerType") == "Const" for source in sources)


def _compile(path: Path, threads: int | None) -> Any:
    try:
        openvino = importlib.import_module("openvino")
    except ImportError as error:
        raise missing(NAME, REQUIREMENT, error) from error
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads or usable_processors()),
    }
    try:
        core = openvino.Core()
        # A model that runs must not change with its file: a mapped one that is overwritten or cut short would.
        core.set_property({"ENABLE_MMAP": False})
        return core.compile_model(core.read_model(path), _DEVICE, config)
    except Exception as error:
        raise EngineError(f"{path.name}: {NAME} {openvino.__version__} cannot load it: {error}") from error


def _check(path: Path, kind: str, specs: Sequence[TensorSpec], found: Sequence[Any]) -> None:
    ports = {name: port for port in found for name in port.get_names()}
    for spec, port in pair_by_name(path, kind, specs, ports):
        dtype = port.get_element_type().get_type_name()
        shape = [size.get_length() if size.is_static else str(size) for size in port.get_partial_shape()]
        check_tensor(kind, spec, shape, _DTYPES.get(dtype, dtype), path)
