"""The stages of a build, in order: fold, calibrate, lower, prove, evaluate, write."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn import __version__
from edgecnn.composer import reporting
from edgecnn.composer.contract import manifest_of
from edgecnn.composer.evaluate import (
    Labelled,
    Predict,
    accuracy_section,
    compare,
    find_labelled,
    real_output,
    without_batch,
)
from edgecnn.composer.request import Frame, Request, Work
from edgecnn.errors import (
    BundleError,
    CalibrationError,
    DataError,
    MissingEngineError,
    OptionError,
    Refusal,
    UnsupportedError,
)
from edgecnn.export import artefact
from edgecnn.graph import notes as graph_notes
from edgecnn.integer_graph import Array, IntegerGraph, write_npz
from edgecnn.manifest import Manifest
from edgecnn.passes.float_difference import FloatModel, largest_difference
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.profile import load_target
from edgecnn.quant.pipeline import Quantised, draft, quantise
from edgecnn.recipe import load_recipe
from edgecnn.report.document import AccuracySection, EngineProof, Report
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import write_bundle
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.model import run_frames
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image

Progress = Callable[[str, int | None], None]
"""Called with the name of the stage, once a step, and the number of steps where it is known."""
GOLDEN_FRAMES = 8


def build(request: Request, output: Path, progress: Progress = lambda stage, steps: None) -> Report:
    """Build a bundle at ``output`` and return its report.

    Args:
        request: What to build.
        output: The bundle's folder itself, or a ``.zip``.
        progress: Told of every step; see `Progress`.

    Raises:
        UnsupportedError: If nodes cannot be lowered; nothing is written then.
        DataError: If the pictures cannot be used.
        CalibrationError: If nothing was left to calibrate on, or no grid can hold what was seen.
        BundleError: If the bundle cannot be written; nothing is left half-written.
    """
    _check_free(output, request.overwrite)
    pictures = find_labelled(request.evaluation, request.expects.labels) if request.evaluation else []
    progress("folding", 1)
    work = prepare(request)
    check_lowers(work)
    quantised = _quantise(work, progress)
    graph = quantised.graph
    with _scratch_folder() as scratch:
        progress("lowering", 1)
        files = _lower(work, graph, scratch)
        manifest = manifest_of(work, quantised, files)
        progress("golden frames", 1)
        golden = _golden(work, graph)
        proofs = _prove(work, manifest, files, golden, progress)
        accuracy = _evaluate(work, graph, files, pictures, progress) if pictures else None
        report = reporting.report_of(work, quantised, manifest, files, proofs, accuracy)
        progress("writing", 1)
        graph.save(scratch / manifest.graph)
        write_npz(scratch / manifest.golden, golden)
        contents: dict[str, Path | bytes] = {item.name: item for item in scratch.rglob("*") if item.is_file()}
        write_bundle(output, manifest, contents | reporting.texts(work, report), request.overwrite)
    return report


def _check_free(output: Path, overwrite: bool) -> None:
    """Refuse an output that is taken before minutes of work are spent; `write_bundle` looks again, more closely."""
    if os.path.lexists(output) and not overwrite:
        raise BundleError(f"{output} exists already. Give another output, or allow it to be overwritten (--overwrite).")


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """Give a temporary folder; that it cannot be written (the disk is full) is an error like any other."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
            yield Path(folder)
    except OSError as error:
        raise BundleError(
            f"{tempfile.gettempdir()}: temporary files cannot be written: {error.strerror or error}. Nothing was left "
            "behind or replaced. Make room, or name another folder in TMPDIR."
        ) from error


def prepare(request: Request) -> Work:
    """Bring the float graph into normal form with the frame as its input; the source's graph is changed in place.

    Raises:
        UnsupportedError: Naming all nodes that have no normal form.
        OptionError: On an unknown target or recipe, or if mean, std, color or labels do not fit the model.
    """
    if not request.targets:
        raise OptionError("name at least one target.")
    profiles, recipe = [load_target(name) for name in request.targets], load_recipe(request.recipe)
    model, expects = request.source.model, request.expects
    original, sample = FloatModel(model), _sample(model.graph)
    passes = normalise(model)
    difference = largest_difference([(original(sample), FloatModel(model)(sample))])
    entry = FrameInput(expects.mean, expects.std, expects.color)
    entry(model)
    FrameOutput()(model)
    _check_labels(model.graph, expects.labels)
    _, height, width, channels = _static_shape(model.graph.inputs[0])
    preprocess = Preprocess((height, width), channels, expects.resize)
    notes = [*graph_notes(model), *reporting.expectation_notes(request.source, expects)]
    return Work(request, profiles, recipe, preprocess, original, passes, difference, entry, notes=notes)


def check_lowers(work: Work) -> None:
    """Lower for every target with made-up ranges: what cannot be lowered is said before anything is calibrated.

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


def _check_labels(graph: ir.Graph, labels: Sequence[str]) -> None:
    """Refuse labels that do not fit a classifier's scores: on the device every frame would fail."""
    scores = graph.outputs[0]
    shape = _static_shape(scores)
    is_vector = len(graph.outputs) == 1 and len(shape) == 2 and shape[0] == 1 and scores.dtype == ir.DataType.FLOAT
    if labels and is_vector and len(labels) != shape[1]:
        raise OptionError(
            f"the model has {shape[1]} classes, but there are {len(labels)} labels ({', '.join(labels[:3])}, ...): "
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


def _frames(work: Work) -> Iterator[Frame]:
    """Yield calibration frames at the model's size; what does not fit is skipped and named."""
    source, limit = work.request.calibration, work.recipe.samples
    for name, frame in source.named():
        try:
            fitted = work.preprocess(frame)
        except DataError as error:
            source.skip(name, str(error))
            continue
        if len(work.golden) < GOLDEN_FRAMES:
            work.golden.append(fitted.copy())
        yield fitted
        limit -= 1
        if limit == 0:
            return


def _count(work: Work) -> int | None:
    """Return how many frames calibration will read, None where a one-time iterator does not say."""
    try:
        found = len(work.request.calibration)
    except TypeError:
        return None
    return min(found, work.recipe.samples or found)


def _quantise(work: Work, progress: Progress) -> Quantised:
    bits = min(profile.weight_bits for profile in work.profiles)
    calibration = work.request.calibration
    steps = {"calibrating": _count(work)}
    try:
        quantised = quantise(
            work.request.source.model, _frames(work), work.recipe, bits, lambda stage: progress(stage, steps.get(stage))
        )
    except CalibrationError as error:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in calibration.skipped[:3])
        raise CalibrationError(f"{error} ({reasons})" if reasons else str(error)) from error
    work.notes.extend(reporting.calibration_notes(quantised.images, len(calibration.skipped)))
    return quantised


def _lower(work: Work, graph: IntegerGraph, scratch: Path) -> dict[str, list[Path]]:
    """Write one artefact per engine, each in its own folder, and return the files by engine."""
    labels = "\n".join(work.request.expects.labels)
    metadata = {"producer": f"edgecnn {__version__}", "model": work.request.source.name, "labels": labels}
    files = {}
    for engine in dict.fromkeys(profile.engine for profile in work.profiles):
        folder = scratch / engine
        folder.mkdir()
        with _stream_errors():
            files[engine] = artefact.write(engine, graph, folder, metadata)
    for profile in work.profiles:
        if profile.edge_tpu is not None:
            files[profile.engine] = _compiled(work, files[profile.engine])
    return files


@contextmanager
def _stream_errors() -> Iterator[None]:
    """Turn what a C++ stream says about a full disk (OpenVINO's serialiser has one) into what Python says."""
    try:
        yield
    except RuntimeError as error:
        if "iostream" not in str(error):
            raise
        raise OSError(errno.EIO, "a model file could not be written, perhaps because the disk is full") from error


def _compiled(work: Work, files: list[Path]) -> list[Path]:
    """Put the model compiled for the Edge TPU in front of ``files``, or say that there is no compiler here."""
    # Inside, because it comes with LiteRT's schema, which other targets do without.
    from edgecnn.export.tflite.compiler import ABSENT, compile_model

    compilation = compile_model(files[0], files[0].parent)
    if compilation is None:
        work.notes.append(ABSENT)
        return files
    return [compilation.path, *sorted(item for item in files[0].parent.iterdir() if item != compilation.path)]


def _golden(work: Work, graph: IntegerGraph) -> dict[str, Array]:
    """Let the reference engine say what the golden frames give."""
    frames = np.stack(work.golden)
    outputs = run_frames(ReferenceEngine(graph), frames)
    return {"frames": frames} | {f"out_{index}": output for index, output in enumerate(outputs)}


def _load(graph: IntegerGraph, engine: str, path: Path) -> engines.Engine:
    inputs, outputs = ([graph.spec(name) for name in names] for names in (graph.inputs, graph.outputs))
    return engines.load(engine, path, inputs, outputs)


def _prove(
    work: Work, manifest: Manifest, files: Mapping[str, list[Path]], golden: Mapping[str, Array], progress: Progress
) -> list[EngineProof]:
    """Run the golden frames through every engine that is installed."""
    inputs, outputs = [manifest.input.tensor], [output.tensor for output in manifest.outputs]
    expected = [golden[f"out_{index}"] for index in range(len(outputs))]
    proofs = []
    for engine, paths in files.items():
        progress(f"proving on {engine}", 1)
        try:
            with engines.load(engine, paths[0], inputs, outputs) as loaded:
                got = run_frames(loaded, golden["frames"])
        except MissingEngineError as error:
            work.notes.append(f"not proven on {engine}: {error}")
            continue
        proofs.append(reporting.proof(engine, manifest, expected, got))
    return proofs


def _evaluate(
    work: Work,
    graph: IntegerGraph,
    files: Mapping[str, list[Path]],
    pictures: Sequence[Labelled],
    progress: Progress,
) -> AccuracySection | None:
    """Compare every engine that is installed with the float model as it was imported; None where there is none."""
    skipped: list[str] = []
    with ExitStack() as stack:
        predictors = _predictors(graph, files, stack)
        if not predictors:
            return None
        frames = _labelled_frames(work, pictures, skipped, progress)
        comparison = compare(frames, lambda frame: _float_output(work, frame), predictors)
    if skipped:
        work.notes.append(f"{len(skipped)} picture(s) to evaluate on could not be used, the first: {skipped[0]}")
    if not comparison.labels:
        raise DataError(f"no picture to evaluate on can be used, the first of {len(skipped)}: {skipped[0]}")
    return accuracy_section(comparison)


def _predictors(graph: IntegerGraph, files: Mapping[str, list[Path]], stack: ExitStack) -> dict[str, Predict]:
    predictors: dict[str, Predict] = {}
    for engine, paths in files.items():
        try:
            loaded = stack.enter_context(_load(graph, engine, paths[0]))
        except MissingEngineError:
            continue  # `_prove` has noted it
        predictors[engine] = real_output(loaded, graph.spec(graph.outputs[0]))
    return predictors


def _labelled_frames(
    work: Work, pictures: Sequence[Labelled], skipped: list[str], progress: Progress
) -> Iterator[tuple[Frame, int | None]]:
    """Yield frames at the model's size with their class; what cannot be used is added to ``skipped``."""
    for item in pictures:
        progress("evaluating", len(pictures))
        try:
            frame = work.preprocess(read_image(item.path))
        except DataError as error:
            skipped.append(f"{item.path}: {str(error).removeprefix(f'{item.path}: ')}")
            continue
        yield frame, item.label


def _float_output(work: Work, frame: Frame) -> npt.NDArray[np.float32]:
    """Return the first output of the float model as it was imported, in the layout in which the bundle gives it."""
    first = work.original(work.entry.feed(frame))[0]
    return without_batch(first.transpose(0, 2, 3, 1) if first.ndim == 4 else first)
