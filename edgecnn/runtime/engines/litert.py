"""LiteRT (TensorFlow Lite), for ``.tflite`` files, on the CPU by XNNPACK or on a Coral Edge TPU.

``ai-edge-litert`` is used where it is installed, else ``tflite-runtime``. The latter was built for numpy 1: with numpy
2 its import succeeds and its interpreter fails, which is explained here because it does not say so itself.

TFLite's integers are int8 where the bundle's are uint8: the same grid, shifted by 128.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn import limits
from edgecnn.boundary import read_bytes
from edgecnn.errors import EngineError, MissingEngineError
from edgecnn.runtime.engines import (
    Array,
    EngineBase,
    _tflite_file,
    check_inputs,
    check_tensor,
    missing,
    usable_processors,
)
from edgecnn.tensor import TensorSpec

NAME = "LiteRT"
REQUIREMENT = "edgecnn[coral]"

EDGE_TPU_LIBRARY = "libedgetpu.so.1"
_EDGE_TPU_MARK = b"edgetpu-custom-op"
_PACKAGES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_SIGN = np.uint8(0x80)


class LiteRTEngine(EngineBase):
    """An interpreter with its tensors allocated; see `edgecnn.runtime.engines.Engine`.

    Args:
        interpreter: Allocated.
        path: The model file, for messages.
        inputs: Specs, in the file's order.
        outputs: Specs, in the file's order.
        exact: See `edgecnn.runtime.engines.Engine.exact`.

    Raises:
        EngineError: If the file takes or returns something else.
    """

    def __init__(
        self,
        interpreter: Any,
        path: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        exact: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, exact)
        self._interpreter = interpreter
        self._inputs_at = _match(path, "input", inputs, interpreter.get_input_details())
        self._outputs_at = _match(path, "output", outputs, interpreter.get_output_details())

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Execute the model once; inputs and outputs are copied.

        Raises:
            EngineError: On a wrong input, after `close`, or if the interpreter fails.
        """
        check_inputs(arrays, self.inputs)
        if self._interpreter is None:
            raise EngineError("the engine was closed.")
        try:
            for (index, shifted, dtype), array in zip(self._inputs_at, arrays, strict=True):
                self._interpreter.set_tensor(index, _to_int8(array) if shifted else array.astype(dtype, copy=False))
            self._interpreter.invoke()
            found = [self._interpreter.get_tensor(index) for index, _, _ in self._outputs_at]
        except Exception as error:
            raise EngineError(f"{NAME} failed: {error}") from error
        return [
            _to_uint8(array) if shifted else array.astype(spec.dtype, copy=False)
            for array, (_, shifted, _), spec in zip(found, self._outputs_at, self.outputs, strict=True)
        ]

    def close(self) -> None:
        """Release the interpreter. A second call does nothing."""
        self._interpreter = None


def load(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    threads: int | None = None,
    wide_pairs: bool = False,
) -> LiteRTEngine:
    """Load a TFLite file; see `edgecnn.runtime.engines.EngineModule.load`.

    A file compiled for the Edge TPU is given to it; without libedgetpu such a file cannot run at all. XNNPACK widens
    products before it adds them, so pairs of weights may be wide.

    Raises:
        MissingEngineError: If no interpreter is installed, libedgetpu is missing, or numpy is too new for it.
        EngineError: If the file cannot be loaded, or takes or returns something else.
    """
    package = _import_package()
    content = read_bytes(path, limits.MODEL, EngineError)
    _tflite_file.check(content, path.name, max(math.prod(spec.shape) for spec in (*inputs, *outputs)))
    delegates = [_edge_tpu(package, path)] if _EDGE_TPU_MARK in content else None
    try:
        interpreter = package.Interpreter(
            model_content=content, num_threads=threads or usable_processors(), experimental_delegates=delegates
        )
        interpreter.allocate_tensors()
    except ImportError as error:
        raise _numpy_too_new(package.__name__, error) from error
    except Exception as error:
        raise EngineError(f"{path.name}: {NAME} cannot load it: {error}") from error
    return LiteRTEngine(interpreter, path, inputs, outputs, exact=delegates is None)


def _import_package() -> Any:
    problems = []
    for name in _PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            problems.append(error)
    raise missing(NAME, REQUIREMENT, problems[0]) from problems[0]


def _numpy_too_new(package: str, error: ImportError) -> MissingEngineError:
    return MissingEngineError(
        f"{package} cannot work with numpy {np.__version__} ({error}). tflite-runtime was built for numpy 1: "
        "pip install 'numpy<2', or replace it: pip install ai-edge-litert"
    )


def _edge_tpu(package: Any, path: Path) -> Any:
    try:
        return package.load_delegate(EDGE_TPU_LIBRARY)
    except (OSError, ValueError) as error:
        raise MissingEngineError(
            f"{path.name} is compiled for the Coral Edge TPU, and {EDGE_TPU_LIBRARY} cannot be used ({error}). "
            "Install it (Debian package libedgetpu1-std) and plug the accelerator in, or run the .tflite that is not "
            "compiled."
        ) from error


def _match(
    path: Path, kind: str, specs: Sequence[TensorSpec], details: Sequence[Mapping[str, Any]]
) -> list[tuple[int, bool, str]]:
    """Find the tensor of each spec: by name where all names fit, else by position.

    Returns:
        Per spec: index in the interpreter, whether it is the same grid shifted to int8, dtype in the file.
    """
    if len(specs) != len(details):
        raise EngineError(f"{path.name}: must have {len(specs)} {kind}(s), the file has {len(details)}.")
    by_name = {str(item["name"]): item for item in details}
    named = all(spec.name in by_name for spec in specs)
    found = [by_name[spec.name] for spec in specs] if named else list(details)
    return [_checked(path, kind, spec, item) for spec, item in zip(specs, found, strict=True)]


def _checked(path: Path, kind: str, spec: TensorSpec, item: Mapping[str, Any]) -> tuple[int, bool, str]:
    dtype = np.dtype(item["dtype"]).name
    shifted = (spec.dtype, dtype) == ("uint8", "int8")
    narrowed = (spec.dtype, dtype) == ("int64", "int32")
    shape = tuple(int(size) for size in item["shape"])
    check_tensor(kind, spec, shape, spec.dtype if shifted or narrowed else dtype, path)
    return int(item["index"]), shifted, dtype


def _to_int8(array: Array) -> Array:
    """Subtract 128: flips the top bit."""
    return np.bitwise_xor(array.view(np.uint8), _SIGN).view(np.int8)


def _to_uint8(array: Array) -> Array:
    """Add 128: flips the top bit."""
    return np.bitwise_xor(array.view(np.uint8), _SIGN)
