"""The report of what was built, and the bundle's other texts."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from edgecnn import models
from edgecnn.composer.evaluate import Evaluation
from edgecnn.composer.request import Request, Rung, Work
from edgecnn.composer.source import Expectation, Source
from edgecnn.manifest import Manifest
from edgecnn.passes.float_difference import FloatModel, largest_difference
from edgecnn.passes.pipeline import Report as PassReport
from edgecnn.profile import TargetProfile
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.pair_cost import pair_cost
from edgecnn.report import document, html
from edgecnn.report.decisions import thumbnails
from edgecnn.report.document import (
    BudgetSection,
    CalibrationSection,
    EngineProof,
    FoldSection,
    FrameSection,
    ModelSection,
    Report,
)
from edgecnn.report.layers import LayerTable, integer_layers
from edgecnn.report.mistakes import mistake_pictures
from edgecnn.report.survey import edge_tpu_rows
from edgecnn.runtime import processor
from edgecnn.runtime.evaluation.labelled import Labelled, Vocabulary, vocabulary
from edgecnn.runtime.verify import EngineReport

FEW_IMAGES = 32
DISTRIBUTIONS = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "openvino": "openvino"}


def expectation_notes(source: Source, expects: Expectation) -> list[str]:
    """Return what was taken for granted about the model as it was imported."""
    if source.card is not None and models.card(source.card).weights is None:
        return [
            f"'{source.card}' comes without trained weights: these are random, good for timing alone. With weights: "
            f"edgecnn export weights.pth --arch {source.card}"
        ]
    normalises_itself = source.model.graph.inputs[0].dtype == ir.DataType.UINT8
    if not expects.told and not normalises_itself and (expects.mean, expects.std) == ((0.0,), (1.0,)):
        return ["no --mean and --std were given: the model is taken to expect pixels on the scale 0..1."]
    return []


def calibration_notes(rung: Rung) -> list[str]:
    """Return what the user should know about the calibration pictures, and about what was tried in vain."""
    notes, images, skipped = [], rung.quantised.images, len(rung.skipped)
    if images < FEW_IMAGES:
        notes.append(f"calibrated on {images} image(s): ranges are uncertain; give at least {FEW_IMAGES}, better 100.")
    if skipped:
        notes.append(f"{skipped} calibration image(s) could not be used; the report names them.")
    if rung.recipe.tuning_passes and rung.quantised.obstacle:
        notes.append(f"fine-tuning was not tried: {rung.quantised.obstacle} has no gradient.")
    if rung.tuned_in_vain:
        notes.append("fine-tuning brought nothing on the pictures kept to judge it: the result is the one without.")
    return notes


def proof(found: EngineReport) -> EngineProof:
    """Return one engine's part of the proof as the report has it: without times, which differ from run to run."""
    plain = dataclasses.asdict(found)
    return {
        "engine": found.engine,
        "version": _version(DISTRIBUTIONS.get(found.engine, "edgecnn")),
        "status": plain["status"],
        "reason": found.reason,
        "max_lsb": max((item.max_lsb for item in found.outputs), default=None),
        "outputs": [item | {"histogram": list(item["histogram"])} for item in plain["outputs"]],
        "judgements": list(plain["judgements"]),
    }


def _version(distribution: str) -> str:
    """Return what is installed; an engine may come from another distribution (onnxruntime-gpu, tflite-runtime)."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def report_of(
    work: Work,
    rung: Rung,
    manifest: Manifest,
    files: Mapping[str, list[Path]],
    proofs: list[EngineProof],
    evaluation: Evaluation | None,
    budget: BudgetSection | None,
) -> Report:
    """Return the report's document.

    Args:
        work: The stages' findings.
        rung: What the bundle's recipe gave.
        manifest: The bundle's contract.
        files: Artefacts by engine.
        proofs: One line per engine that ran.
        evaluation: INT8 beside float, None where it was not measured.
        budget: The climb of the ladder, None where there was no budget.
    """
    graph = rung.quantised.graph
    layers = integer_layers(graph)
    report: Report = {
        "schema": 1,
        "model": _model(work, manifest, layers),
        "targets": [profile.name for profile in work.profiles],
        "folds": _folds(work.passes, work.folding_difference),
        "frame": _frame(work, rung.golden),
        "calibration": _calibration(rung),
        "layers": layers.rows(),
        "engines": proofs,
        "processor": str(processor.here()),
        "artefacts": [row for profile in work.profiles for row in _artefacts(profile, files[profile.engine])],
        "notes": work.notes,
    }
    limits = next((profile.edge_tpu for profile in work.profiles if profile.edge_tpu is not None), None)
    if limits is not None:
        report["edge_tpu"], summary = edge_tpu_rows(graph, limits)
        work.notes.append(f"Edge TPU: {summary}")
    if evaluation is not None:
        report |= {"accuracy": evaluation.accuracy, "decisions": evaluation.decisions}
    if budget is not None:
        report["budget"] = budget
    return report


def _model(work: Work, manifest: Manifest, layers: LayerTable) -> ModelSection:
    request, expects = work.request, work.request.expects
    return {
        "name": request.source.name,
        "source": "built-in" if request.source.card else "file",
        "digest": request.source.digest,
        "task": manifest.task,
        "parameters": layers.parameters,
        "macs": layers.macs,
        "input": {
            "shape": list(manifest.input.tensor.shape[1:]),
            "color": expects.color,
            "resize": expects.resize.mode,
            "mean": list(expects.mean),
            "std": list(expects.std),
        },
    }


def _folds(passes: PassReport, difference: float) -> FoldSection:
    return {
        "folded": [
            {"batch_norm": fold.batch_norm, "into": ", ".join(fold.into), "kind": f"{fold.before} => {fold.after}"}
            for fold in passes.batch_norm.folds
        ],
        "unfolded": [{"batch_norm": item.batch_norm, "reason": item.reason} for item in passes.batch_norm.unfolded],
        "float_difference": difference,
    }


def _frame(work: Work, golden: Sequence[Frame]) -> FrameSection:
    """Measure what folding the normalisation costs, on golden frames: only the border can differ."""
    after, found = FloatModel(work.request.source.model), work.entry.report
    inputs = [(work.entry.feed(frame), {"frame": frame[None]}) for frame in golden]
    effect = largest_difference((work.original(before), after(now)) for before, now in inputs)
    fallback = found.reason if found.fallback else None
    return {"zero_point": found.zero_point, "exact": found.exact, "border_effect": effect, "fallback": fallback}


def _calibration(rung: Rung) -> CalibrationSection:
    pairs = pair_cost(rung.model, rung.recipe.weight_range)
    found: CalibrationSection = {
        "recipe": rung.recipe.name,
        "observer": rung.quantised.observer,
        "biases_corrected": rung.quantised.corrected,
        "tuned": rung.quantised.tuned,
        "images": rung.quantised.images,
        "skipped": [f"{item.name}: {item.reason}" for item in rung.skipped],
        "digest": rung.digest,
    }
    if pairs is not None:
        found["pairs"] = list(pairs)
    return found


def _artefacts(profile: TargetProfile, paths: Sequence[Path]) -> list[document.Artefact]:
    sizes = [(path.name, path.stat().st_size) for path in paths]
    return [{"file": name, "engine": profile.engine, "target": profile.name, "bytes": size} for name, size in sizes]


def words_of(request: Request) -> Vocabulary:
    """Return what the pictures to evaluate on may be labelled with."""
    expects = request.expects
    return vocabulary(expects.task, expects.labels, expects.thresholds, request.good, expects.decoding)


def texts(
    work: Work,
    report: Report,
    manifest: Manifest,
    pictures: Sequence[Labelled] = (),
    evaluation: Evaluation | None = None,
) -> dict[str, bytes]:
    """Return the bundle's text files: the report twice, and what the device installs.

    Args:
        work: The stages' findings.
        report: The report.
        manifest: The bundle's contract.
        pictures: What was evaluated on; those that INT8 decides differently are shown.
        evaluation: What was found there; the worst mistakes are shown.
    """
    requirements = dict.fromkeys(line for profile in work.profiles for line in profile.requirements)
    shown = (
        thumbnails(report["decisions"], {item.name: item.path for item in pictures}) if "decisions" in report else {}
    )
    mistakes = [] if evaluation is None else mistake_pictures(evaluation.mistakes, pictures, manifest)
    # A file's name need not be text; in JSON, this is how such a byte is written.
    return {
        document.FILE_NAME: document.dumps(report).encode(errors="backslashreplace"),
        html.FILE_NAME: html.render(report, shown, mistakes).encode(errors="backslashreplace"),
        "requirements.txt": "".join(f"{line}\n" for line in requirements).encode(),
    }
