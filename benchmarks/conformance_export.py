"""Export the cases of `conformance`: an integer graph, frames, what the reference gives, and a file for each engine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from benchmarks import conformance_cases, conformance_onnx
from benchmarks.conformance_runner import joined
from edgecnn.errors import EdgecnnError, UnsupportedError
from edgecnn.export import artefact
from edgecnn.graph import import_onnx
from edgecnn.integer_graph import IntegerGraph
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import Recipe
from edgecnn.runtime.engines.reference import ReferenceEngine

Array = npt.NDArray[Any]
PLAIN = Recipe("plain", "", "minmax", "minmax", False)
ENGINES = ("onnxruntime", "openvino", "litert")
CALIBRATING, COMPARED = 6, 2
ONNX_CASES = "ONNX node cases"


def write_drawn(folder: Path, count: int) -> tuple[int, dict[str, str]]:
    """Draw ``count`` cases from `conformance_cases` and write them; return the number and why any were refused."""
    refused = {}
    for index, (form, model) in enumerate(conformance_cases.drawn(count)):
        name = f"drawn-{index:05}"
        try:
            graph, frames = exported(model, np.asarray([-2.0, 2.0]), np.random.default_rng(index))
            write(folder / name, form, graph, frames)
        except EdgecnnError as error:
            refused[name] = f"{form}: {error}"
    return count, refused


def write_onnx(folder: Path) -> tuple[int, dict[str, str]]:
    """Write ONNX's own cases and return how many take floats, and why others were refused, by name."""
    refused, total = {}, 0
    for name, ways in conformance_onnx.cases():
        total += 1
        reason = _first_accepted(folder / f"onnx-{name}", ways)
        if reason:
            refused[name] = reason
    return total, refused


def _first_accepted(folder: Path, ways: Iterable[tuple[onnx.ModelProto, Array]]) -> str:
    """Write the first way that can be exported; return why there is none."""
    reason = "its input has more than 4 dimensions"
    for model, values in ways:
        try:
            graph, frames = exported(model, values, np.random.default_rng(0))
            write(folder, ONNX_CASES, graph, frames)
        except EdgecnnError as error:
            reason = str(error)
        except (ValueError, IndexError, KeyError, TypeError) as error:  # no refusal: what the importer stumbles over
            reason = f"stumbled: {error!r}"
        else:
            return ""
    return reason


def exported(model: onnx.ModelProto, values: Array, random: np.random.Generator) -> tuple[IntegerGraph, list[Array]]:
    """Export a model as `edgecnn export` does.

    Args:
        model: Its input is a picture.
        values: Frames reach from the lowest to the highest of them.
        random: Draws the frames.

    Returns:
        The integer graph, and frames to compare on: calibration has seen none of them.

    Raises:
        EdgecnnError: If the importer refuses the model.
    """
    imported = _imported(model)
    normalise(imported)
    _frame_input(imported, values)(imported)
    FrameOutput()(imported)
    shape = tuple(int(size) for size in imported.graph.inputs[0].shape.numpy())  # type: ignore[union-attr]
    frames = list(random.integers(0, 256, (CALIBRATING + COMPARED, *shape), np.uint8))
    graph = quantise(imported, [frame[0] for frame in frames[:CALIBRATING]], PLAIN).graph
    return graph, frames[CALIBRATING:]


def _imported(model: onnx.ModelProto) -> ir.Model:
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return import_onnx(path)


def _frame_input(model: ir.Model, values: Array) -> FrameInput:
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    shape = model.graph.inputs[0].shape
    color = "gray" if shape is not None and shape[1] == 1 else "rgb"
    return FrameInput((-low / span,), (1 / span,), color)


def write(folder: Path, form: str, graph: IntegerGraph, frames: Sequence[Array]) -> None:
    """Write one case: what is compared, and a file for each engine or why it has none."""
    reference = ReferenceEngine(graph)
    expected = np.stack([joined(reference.run([frame])) for frame in frames])
    folder.mkdir(parents=True)
    np.savez(folder / "values.npz", frames=np.stack(frames), expected=expected)
    graph.save(folder / "graph.npz")
    (folder / "case.json").write_text(json.dumps({"form": form}), encoding="utf-8")
    for engine in ENGINES:
        (folder / engine).mkdir()
        try:
            artefact.write(engine, graph, folder / engine)
        except UnsupportedError as error:
            (folder / engine / "refused").write_text(str(error), encoding="utf-8")
