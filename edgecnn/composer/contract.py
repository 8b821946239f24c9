"""The manifest of what was built."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from edgecnn import __version__
from edgecnn.composer.request import Rung, Work
from edgecnn.composer.source import Expectation
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.runtime import engines
from edgecnn.runtime.health.reference import FILE as HEALTH_FILE
from edgecnn.tensor import TensorSpec
from edgecnn.vision.tasks.segment import MOST_CLASSES

PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "ai-edge-litert", "torch")


def manifest_of(work: Work, rung: Rung, files: Mapping[str, list[Path]]) -> Manifest:
    """Return the manifest; ``files`` are the artefacts by engine, and engines without one are left out."""
    request, graph = work.request, rung.quantised.graph
    source, expects = request.source, request.expects
    tensor = graph.spec(graph.inputs[0])
    task, outputs = decides(expects, graph, work.meanings)
    return Manifest(
        name=source.name,
        task=task,
        input=InputContract(tensor, {3: "bgr", 1: "gray"}.get(tensor.shape[3], "channels"), expects.resize),
        outputs=outputs,
        engines=tuple(
            EngineEntry(
                profile.engine, profile.name, tuple(path.name for path in files[profile.engine]), profile.equivalent
            )
            for profile in work.profiles
            if profile.engine in files
        ),
        provenance=Provenance(
            tool_version=__version__,
            model=source.name,
            model_sha256=source.digest,
            recipe=rung.recipe.name,
            calibration_sha256=rung.digest,
            calibration_count=rung.quantised.images,
            seed=rung.recipe.seed,
            mean=expects.mean,
            std=expects.std,
            source_color=expects.color,
            packages=_versions(),
        ),
        labels=expects.labels,
        thresholds=expects.thresholds,
        decoding=expects.decoding,
        health=None if rung.health is None else HEALTH_FILE,
    )


def open_artefact(manifest: Manifest, engine: str, path: Path) -> engines.Engine:
    """Load an artefact before its bundle is written.

    Raises:
        MissingEngineError: If the engine is not installed.
        EngineError: If it cannot load the file.
    """
    outputs = [output.tensor for output in manifest.outputs]
    return engines.load(engine, path, [manifest.input.tensor], outputs)


def decides(
    expects: Expectation, graph: IntegerGraph, meanings: Mapping[str, str]
) -> tuple[str, tuple[OutputContract, ...]]:
    """Return the task, and the outputs that it reads.

    Args:
        expects: What is known of the model.
        graph: The integer graph.
        meanings: What each output's values can be taken for; see `edgecnn.passes.reach`.
    """
    outputs = tuple(_output(graph.spec(name), meanings[name]) for name in graph.outputs)
    return expects.task or _task(outputs), outputs


def _output(spec: TensorSpec, meaning: str) -> OutputContract:
    if spec.shape[0] != 1:
        return OutputContract(spec, "ABDEFG"[: len(spec.shape)], "raw")
    layout = {4: "NHWC", 3: "NAC", 2: "NC"}.get(len(spec.shape), "N" + "ABDEFG"[: len(spec.shape) - 1])
    known = spec.quant is not None and (layout in ("NC", "NHWC") or meaning == "probabilities")
    return OutputContract(spec, layout, meaning if known else "raw")


def _task(outputs: tuple[OutputContract, ...]) -> str:
    """Tell the task from the outputs: one vector of scores, one map of scores, or anything else."""
    if len(outputs) != 1 or outputs[0].meaning == "raw":
        return "raw"
    shape, layout = outputs[0].tensor.shape, outputs[0].layout
    is_map = layout == "NHWC" and shape[3] <= MOST_CLASSES
    return "classify" if layout == "NC" else "segment" if is_map else "raw"


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
