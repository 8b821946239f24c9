"""Write a graph for an engine, and run a graph on an engine without a bundle around it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from edgecnn import plugins
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import engines
from edgecnn.tensor import QuantParams

# The format that each engine loads, and the name of the file it is given.
FORMATS = {
    "litert": ("tflite", "model.tflite"),
    "onnxruntime": ("onnx", "model.onnx"),
    "openvino": ("openvino", "model.xml"),
    "reference": ("", "graph.npz"),
}


def _format(engine: str) -> ModuleType:
    return plugins.load("edgecnn.export", FORMATS[engine][0])


def write(engine: str, graph: IntegerGraph, folder: Path, metadata: Mapping[str, str] | None = None) -> list[Path]:
    """Write ``graph`` for ``engine`` into ``folder``.

    Args:
        engine: Name of an engine.
        graph: The canonical graph.
        folder: An empty folder.
        metadata: Goes to the format's own metadata.

    Returns:
        Every file written, the one that the engine is given first.

    Raises:
        UnsupportedError: If nodes cannot be lowered; nothing is written then.
    """
    path = folder / FORMATS[engine][1]
    if engine == "reference":
        graph.save(path)
    else:
        _format(engine).write(graph, path, metadata)
    return [path, *sorted(item for item in folder.iterdir() if item != path)]


def check(engine: str, graph: IntegerGraph) -> None:
    """Lower ``graph`` for ``engine`` and throw the result away.

    Raises:
        UnsupportedError: Naming all nodes that cannot be lowered.
    """
    if engine != "reference":
        _format(engine).check(graph)


def read_grids(engine: str, path: Path) -> dict[str, QuantParams]:
    """Read the grids of all tensors back from a file that was written for ``engine``."""
    grids: dict[str, QuantParams] = _format(engine).read_grids(path)
    return grids


@contextmanager
def opened(engine: str, graph: IntegerGraph, threads: int = 1) -> Iterator[engines.Engine]:
    """Lower ``graph`` for ``engine`` into a temporary folder and load it from there."""
    inputs = [graph.spec(name) for name in graph.inputs]
    outputs = [graph.spec(name) for name in graph.outputs]
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
        path = write(engine, graph, Path(folder))[0]
        with engines.load(engine, path, inputs, outputs, threads, engines.wide_pairs(lambda: graph)) as loaded:
            yield loaded
