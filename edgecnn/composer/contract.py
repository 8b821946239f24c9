"""The manifest of what was built."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from edgecnn import __version__
from edgecnn.composer.request import Work
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.quant.pipeline import Quantised

PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "ai-edge-litert", "torch")


def manifest_of(work: Work, quantised: Quantised, files: Mapping[str, list[Path]]) -> Manifest:
    """Return the manifest; ``files`` are the artefacts by engine."""
    request, graph = work.request, quantised.graph
    source, expects = request.source, request.expects
    tensor = graph.spec(graph.inputs[0])
    outputs = tuple(_output(graph, name) for name in graph.outputs)
    return Manifest(
        name=source.name,
        task=expects.task or _task(outputs),
        input=InputContract(tensor, {3: "bgr", 1: "gray"}.get(tensor.shape[3], "channels"), expects.resize),
        outputs=outputs,
        engines=tuple(
            EngineEntry(profile.engine, profile.name, tuple(path.name for path in files[profile.engine]))
            for profile in work.profiles
        ),
        provenance=Provenance(
            tool_version=__version__,
            model=source.name,
            model_sha256=source.digest,
            recipe=work.recipe.name,
            calibration_sha256=request.calibration.digest,
            calibration_count=quantised.images,
            seed=work.recipe.seed,
            mean=expects.mean,
            std=expects.std,
            source_color=expects.color,
            packages=_versions(),
        ),
        labels=expects.labels,
        thresholds=expects.thresholds,
    )


def _output(graph: IntegerGraph, name: str) -> OutputContract:
    spec = graph.spec(name)
    writer = next((node.op for node in graph.nodes if node.output == name), "")
    if spec.shape[0] != 1:
        return OutputContract(spec, "ABDEFG"[: len(spec.shape)], "raw")
    layout = {4: "NHWC", 3: "NAC", 2: "NC"}.get(len(spec.shape), "N" + "ABDEFG"[: len(spec.shape) - 1])
    if writer in ("Softmax", "Sigmoid"):
        return OutputContract(spec, layout, "probabilities")
    return OutputContract(spec, layout, "logits" if layout in ("NC", "NHWC") and spec.quant else "raw")


def _task(outputs: tuple[OutputContract, ...]) -> str:
    """Tell the task from the outputs: one vector of scores, one map of scores, or anything else."""
    if len(outputs) == 1 and outputs[0].meaning != "raw":
        return "classify" if outputs[0].layout == "NC" else "segment"
    return "raw"


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
