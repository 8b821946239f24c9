"""The stages of a build, in order: fold, calibrate, lower, prove, evaluate, write."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgecnn import exact_sums
from edgecnn.arrays import write_npz
from edgecnn.composer import budget, reporting
from edgecnn.composer.calibration import Calibration
from edgecnn.composer.contract import decides, manifest_of, open_artefact
from edgecnn.composer.decision_range import check_reach
from edgecnn.composer.evaluate import Evaluation, evaluate, float_run
from edgecnn.composer.fidelity import warnings as fidelity_warnings
from edgecnn.composer.golden import drawn
from edgecnn.composer.ladder import Ladder
from edgecnn.composer.layers import measure_layers
from edgecnn.composer.lowering import lower
from edgecnn.composer.operating_point import beside_float
from edgecnn.composer.picture_notes import picture_notes
from edgecnn.composer.reading_back import read_back
from edgecnn.composer.request import Progress, Request, Rung, Work
from edgecnn.composer.rung import quantise_with
from edgecnn.composer.tensor_notes import tensor_notes
from edgecnn.errors import (
    BundleError,
    OptionError,
    Refusal,
    UnsupportedError,
)
from edgecnn.export import artefact
from edgecnn.graph import notes as graph_notes
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.passes.float_difference import FloatModel, largest_difference
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.passes.reach import meanings
from edgecnn.profile import load_target
from edgecnn.proof import SKIPPED
from edgecnn.quant.pipeline import draft
from edgecnn.recipe import Recipe
from edgecnn.report.document import BudgetSection, EngineProof, Report
from edgecnn.runtime.bundle import Golden, write_bundle
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.evaluation.labelled import Labelled, find_labelled, without_label
from edgecnn.runtime.evaluation.observe import Picture, Run, read_pictures, run_of
from edgecnn.runtime.model import choose_entry, run_frames
from edgecnn.runtime.scratch import Scratch
from edgecnn.runtime.verify import prove
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.tiling import refusal, tiled

PAIRS_BROKEN = "This is an error of edgecnn: please report it with the model."
SUMS_BROKEN = "Give the layer fewer inputs, or smaller biases."


def build(request: Request, output: Path, progress: Progress = lambda stage, steps: None) -> Report:
    """Build a bundle at ``output`` and return its report.

    An engine that fails the proof does not stop it: the bundle is needed to look into that, and its report says FAILED.
    With an accuracy budget that no recipe keeps, the bundle is the nearest one, and ``report["budget"]["holds"]`` is
    False.

    Args:
        request: What to build.
        output: The bundle's folder itself, or a ``.zip``.
        progress: Told of every step; see `Progress`.

    Raises:
        UnsupportedError: If nodes cannot be lowered; nothing is written then.
        DataError: If the pictures cannot be used, or are too few for the accuracy budget.
        OptionError: If targets, recipe, labels or the accuracy budget cannot be what was asked for.
        CalibrationError: If nothing was left to calibrate on, or no grid can hold what was seen.
        MissingEngineError: If there is an accuracy budget, and the first target's engine is not installed.
        BundleError: If the bundle cannot be written, or does not open and run as written; nothing is left half-written.
    """
    _check_free(output, request.overwrite)
    work, pictures, counted = _begin(request, progress)
    with _scratch_folder() as scratch:
        rung, climbed = _best(work, counted, scratch, progress)
        graph = rung.quantised.graph
        check_exact(graph)
        work.notes.extend(reporting.calibration_notes(rung))
        work.notes.extend(_oddities(work, rung))
        progress("lowering", 1)
        files = lower(work, graph, scratch)
        manifest = manifest_of(work, rung, files)
        progress("comparing with float", 1)
        manifest, found = beside_float(work, manifest, graph, rung.quantised.held_out)
        check_reach(manifest)
        work.notes[:0] = fidelity_warnings(found)
        progress("golden frames", 1)
        golden = _golden(rung)
        proofs = _prove(work, manifest, files, golden, progress)
        ran = {item["engine"]: files[item["engine"]] for item in proofs if item["outputs"]}
        evaluation = _evaluate(work, manifest, ran, pictures, progress) if pictures else None
        report = reporting.report_of(work, rung, manifest, files, proofs, evaluation, climbed)
        report["fidelity"] = found
        report = measure_layers(report, work, rung, progress)
        progress("writing", 1)
        graph.save(scratch / manifest.graph)
        write_npz(scratch / manifest.golden, golden)
        if rung.health is not None and manifest.health is not None:
            write_npz(scratch / manifest.health, rung.health.arrays())
        contents: dict[str, Path | bytes] = {item.name: item for item in scratch.rglob("*") if item.is_file()}
        texts = reporting.texts(work, report, manifest, pictures, evaluation)
        write_bundle(output, manifest, contents | texts, request.overwrite, lambda written: read_back(written, proofs))
    return report


def _oddities(work: Work, rung: Rung) -> list[str]:
    """Return what is odd about the calibration pictures and about single layers."""
    quantised = rung.quantised
    pictures = picture_notes(list(work.calibration.sights.items()))
    return pictures + tensor_notes(quantised.graph, rung.model, rung.golden, list(quantised.statistics))


def _begin(request: Request, progress: Progress) -> tuple[Work, list[Labelled], list[Labelled]]:
    """Fold, and refuse what cannot be built before minutes of work are spent.

    Returns:
        The folded model; the pictures to evaluate on; and those of them that an accuracy budget counts.
    """
    recipes = budget.planned(request)
    pictures = find_labelled(request.evaluation, reporting.words_of(request)) if request.evaluation else []
    counted = [] if request.max_drop is None else budget.countable(pictures, request.max_drop)
    progress("folding", 1)
    work = prepare(request, recipes)
    graph = check_lowers(work)
    decided = decides(request.expects, graph, work.meanings)
    _check_tiles(request, *decided)
    if counted:
        budget.check_decides(*decided)
    return work, pictures, counted


def _check_tiles(request: Request, task: str, outputs: Sequence[OutputContract]) -> None:
    """Refuse tiles where the outputs cannot be put together.

    Raises:
        OptionError: Saying why.
    """
    reason = refusal(task, outputs) if request.expects.resize.mode == "tile" else ""
    if reason:
        raise OptionError(f"the model cannot be run in tiles (--resize tile): {reason}. Choose another --resize.")


def _best(
    work: Work, counted: Sequence[Labelled], scratch: Path, progress: Progress
) -> tuple[Rung, BudgetSection | None]:
    """Quantise with the recipe that was asked for, or with a budget climb the ladder until it holds."""
    if work.request.max_drop is None:
        return quantise_with(work, work.recipes[0], progress), None
    return Ladder(work, counted, scratch, progress).climb(work.request.max_drop)


def _check_free(output: Path, overwrite: bool) -> None:
    """Refuse an output that is taken before minutes of work are spent; `write_bundle` looks again, more closely."""
    if os.path.lexists(output) and not overwrite:
        raise BundleError(f"{output} exists already. Give another output, or allow it to be overwritten (--overwrite).")


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """Give a temporary folder; that it cannot be written (the disk is full) is an error like any other."""
    try:
        with Scratch("edgecnn-export-") as scratch:
            yield scratch.folder
    except OSError as error:
        raise BundleError(
            f"{tempfile.gettempdir()}: temporary files cannot be written: {error.strerror or error}. Nothing was left "
            "behind or replaced. Make room, or name another folder in TMPDIR."
        ) from error


def prepare(request: Request, recipes: list[Recipe]) -> Work:
    """Bring the float graph into normal form with the frame as its input; the source's graph is changed in place.

    Raises:
        UnsupportedError: Naming all nodes that have no normal form.
        OptionError: On an unknown target, or if mean, std, color or labels do not fit the model.
    """
    if not request.targets:
        raise OptionError("name at least one target.")
    profiles = [load_target(name) for name in request.targets]
    model, expects = request.source.model, request.expects
    taken_for_granted = reporting.expectation_notes(request.source, expects)
    original, sample = FloatModel(model), _sample(model.graph)
    passes = normalise(model)
    difference = largest_difference([(original(sample), FloatModel(model)(sample))])
    entry = FrameInput(expects.mean, expects.std, expects.color)
    entry(model)
    leaving = FrameOutput()
    leaving(model)
    _check_labels(model.graph, expects.labels, expects.task)
    _, height, width, channels = _static_shape(model.graph.inputs[0])
    preprocess = Preprocess((height, width), channels, expects.resize)
    notes = [*graph_notes(model), *taken_for_granted]
    calibration = Calibration(request.calibration, preprocess, len(recipes) > 1, request.drawn)
    meant = meanings(model)
    float_model = leaving.behind(original)
    return Work(
        request, profiles, recipes, preprocess, calibration, float_model, passes, difference, entry, meant, notes
    )


def check_lowers(work: Work) -> IntegerGraph:
    """Lower for every target with made-up ranges: what cannot be lowered is said before anything is calibrated.

    Returns:
        The graph with made-up ranges.

    Raises:
        UnsupportedError: Naming all nodes that one of the targets' formats cannot express.
    """
    graph, refusals, refusing = draft(work.request.source.model), dict[Refusal, None](), list[str]()
    for profile in work.profiles:
        try:
            artefact.check(profile.engine, graph)
        except UnsupportedError as error:
            refusals |= dict.fromkeys(error.refusals)
            refusing.append(profile.name)
    if refusals:
        raise UnsupportedError(list(refusals), ", ".join(refusing))
    return graph


def check_exact(graph: IntegerGraph) -> None:
    """Refuse integers that some processor would add up wrongly; see `edgecnn.exact_sums`.

    Raises:
        UnsupportedError: Naming all layers that break a rule.
    """
    refusals = [
        Refusal(node.op, node.name, reason, suggestion)
        for rule, suggestion in ((exact_sums.broken_pairs, PAIRS_BROKEN), (exact_sums.broken_sums, SUMS_BROKEN))
        for node, reason in rule(graph)
    ]
    if refusals:
        raise UnsupportedError(refusals)


def _check_labels(graph: ir.Graph, labels: Sequence[str], task: str | None) -> None:
    """Refuse labels that do not fit a classifier's scores: on the device every frame would fail."""
    scores = graph.outputs if len(graph.outputs) == 1 or task == "defect" else []
    shapes = [_static_shape(value) for value in scores if value.dtype == ir.DataType.FLOAT]
    classes = [shape[1] for shape in shapes if len(shape) == 2 and shape[0] == 1]
    if labels and classes and classes != [len(labels)]:
        raise OptionError(
            f"the model has {classes[0]} classes, but there are {len(labels)} labels ({', '.join(labels[:3])}, ...): "
            "give a text file with one name per class as --labels."
        )
    twice = next((name for name in labels if labels.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"two classes are called '{twice}': give different names as --labels.")


def _sample(graph: ir.Graph) -> dict[str, Array]:
    """Return noise for every input; that there is only one is for `FrameInput` to say."""
    return {str(value.name): _noise(value) for value in graph.inputs}


def _noise(value: ir.Value) -> Array:
    noise = np.random.default_rng(0).standard_normal(_static_shape(value)).astype(np.float32)
    return noise if value.dtype == ir.DataType.FLOAT else np.clip(noise * 40 + 128, 0, 255).astype("u1")


def _static_shape(value: ir.Value) -> tuple[int, ...]:
    if value.shape is None:
        raise ValueError(f"value '{value.name}' has no shape")
    return tuple(int(size) for size in value.shape.numpy())


def _golden(rung: Rung) -> dict[str, Array]:
    """Let the reference engine say what the golden frames give."""
    frames = np.stack([*rung.golden, *drawn(rung.golden[0].shape)])
    outputs = run_frames(ReferenceEngine(rung.quantised.graph), frames)
    return {"frames": frames} | {f"out_{index}": output for index, output in enumerate(outputs)}


def _prove(
    work: Work, manifest: Manifest, files: Mapping[str, list[Path]], golden: Mapping[str, Array], progress: Progress
) -> list[EngineProof]:
    """Run the golden frames through every engine that is installed; one that cannot run them has failed the proof."""
    expected = Golden(
        golden["frames"].astype(np.uint8), tuple(golden[f"out_{index}"] for index in range(len(manifest.outputs)))
    )
    proofs = []
    for engine, paths in files.items():
        progress(f"proving on {engine}", 1)
        opened = functools.partial(open_artefact, manifest, engine, paths[0])
        found = prove(manifest, choose_entry(manifest, engine), expected, opened)
        if found.status == SKIPPED:
            work.notes.append(f"not proven on {engine}: {found.reason}")
        else:
            proofs.append(reporting.proof(found))
    return proofs


def _evaluate(
    work: Work,
    manifest: Manifest,
    files: Mapping[str, list[Path]],
    pictures: Sequence[Labelled],
    progress: Progress,
) -> Evaluation | None:
    """Compare every engine of ``files`` with the float model as it was imported; None where there is none."""
    skipped: list[str] = []
    with ExitStack() as stack:
        runs = _runs(manifest, files, stack)
        if not runs:
            return None
        read = _watched(read_pictures(pictures, work.preprocess, skipped), len(pictures), progress)
        told = without_label(pictures, reporting.words_of(work.request))
        notes = [] if told is None else [told]
        reference = tiled(float_run(work.original, work.entry), work.preprocess.tiling)
        found = evaluate(manifest, read, reference, runs, skipped, notes)
    if skipped:
        work.notes.append(f"{len(skipped)} picture(s) to evaluate on could not be used, the first: {skipped[0]}")
    return found


def _runs(manifest: Manifest, files: Mapping[str, list[Path]], stack: ExitStack) -> dict[str, Run]:
    """Open every engine; the stack closes it."""
    runs: dict[str, Run] = {}
    for name, paths in files.items():
        loaded = stack.enter_context(open_artefact(manifest, name, paths[0]))
        runs[name] = tiled(run_of(loaded), Preprocess.for_input(manifest.input).tiling)
    return runs


def _watched(pictures: Iterator[Picture | None], count: int, progress: Progress) -> Iterator[Picture | None]:
    """Tell of every picture that is read, also of those that cannot be used."""
    for picture in pictures:
        progress("evaluating", count)
        yield picture
