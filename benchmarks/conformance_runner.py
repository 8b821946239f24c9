"""Run the cases that `conformance` has written through one engine, in a process of its own.

    python -m benchmarks.conformance_runner RUNNER FOLDER RESULTS [--every N]

Needs numpy and the engine, nothing else. One line of JSON a case goes to RESULTS; cases that are in it already are
passed over, so that a process that an engine ends can be started again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.errors import EdgecnnError
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import engines
from edgecnn.runtime.engines.litert import LiteRTEngine
from edgecnn.tensor import TensorSpec

Specs = Sequence[TensorSpec]
Load = Callable[[Path, Specs, Specs], engines.Engine]
ARENA = 16 * 2**20


class Micro:
    """TensorFlow Lite Micro's interpreter, with the methods of LiteRT's."""

    def __init__(self, content: bytes, outputs: int) -> None:
        from tflite_micro import runtime

        self._outputs = outputs
        self._interpreter = runtime.Interpreter.from_bytes(content, arena_size=ARENA)

    def get_input_details(self) -> list[dict[str, Any]]:
        """Describe the one input."""
        return [{"name": "", "index": 0, **self._interpreter.get_input_details(0)}]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Describe the outputs."""
        found = range(self._outputs)
        return [{"name": "", "index": index, **self._interpreter.get_output_details(index)} for index in found]

    def set_tensor(self, index: int, array: Any) -> None:
        """Fill the input."""
        self._interpreter.set_input(array, index)

    def invoke(self) -> None:
        """Execute the model."""
        self._interpreter.invoke()

    def get_tensor(self, index: int) -> Any:
        """Return an output."""
        return self._interpreter.get_output(index)


def micro(path: Path, inputs: Specs, outputs: Specs) -> engines.Engine:
    """Load a file into TensorFlow Lite Micro."""
    return LiteRTEngine(Micro(path.read_bytes(), len(outputs)), path, inputs, outputs)


def plain(path: Path, inputs: Specs, outputs: Specs) -> engines.Engine:
    """Load a file into LiteRT with its plain reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    return LiteRTEngine(interpreter, path, inputs, outputs)


def installed(name: str) -> Load:
    """Return how an engine of edgecnn loads a file."""
    return lambda path, inputs, outputs: engines.load(name, path, inputs, outputs, threads=1)


# The file that is given to each, and how it is loaded.
LOADERS: dict[str, tuple[str, Load]] = {
    "onnxruntime": ("onnxruntime/model.onnx", installed("onnxruntime")),
    "openvino": ("openvino/model.xml", installed("openvino")),
    "litert": ("litert/model.tflite", installed("litert")),
    "litert-plain": ("litert/model.tflite", plain),
    "tflm": ("litert/model.tflite", micro),
}


def joined(arrays: Sequence[Any]) -> Any:
    """Return all outputs as one row of integers."""
    return np.concatenate([array.ravel().astype(np.int64) for array in arrays])


def run_case(runner: str, folder: Path) -> dict[str, Any]:
    """Return what one case gives: refused, failed, or the largest difference and how many values differ."""
    file, load = LOADERS[runner]
    if not (folder / file).exists():
        return {"refused": (folder / file).with_name("refused").read_text(encoding="utf-8")}
    graph = IntegerGraph.load(folder / "graph.npz")
    inputs, outputs = ([graph.spec(name) for name in names] for names in (graph.inputs, graph.outputs))
    try:
        with np.load(folder / "values.npz") as values, load(folder / file, inputs, outputs) as engine:
            got = np.stack([joined(engine.run([frame])) for frame in values["frames"]])
            off = np.abs(got - values["expected"])
    except (EdgecnnError, RuntimeError, ValueError) as error:
        return {"failed": str(error)}
    return {"largest": int(off.max(initial=0)), "differ": int(np.count_nonzero(off)), "values": off.size}


def run_all(runner: str, folder: Path, results: Path, every: int = 1) -> None:
    """Run every case, or every n-th, and write a line for each; a line that says "failed" stands until it is done."""
    done = {json.loads(line)["case"] for line in results.read_text().splitlines()} if results.exists() else set()
    with results.open("a", encoding="utf-8") as file:
        for case in sorted(path.parent for path in folder.glob("*/graph.npz"))[::every]:
            if case.name not in done:
                print(json.dumps({"case": case.name, "failed": "the process ended"}), file=file, flush=True)
                print(json.dumps({"case": case.name, **run_case(runner, case)}), file=file, flush=True)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runner", choices=LOADERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    run_all(arguments.runner, arguments.folder, arguments.results, arguments.every)


if __name__ == "__main__":
    main()
