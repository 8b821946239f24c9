"""The stages of a build, in order: fold, calibrate, lower, prove, evaluate, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn import __version__
from edgecnn.build import reporting
from edgecnn.build.contract import manifest_of
from edgecnn.build.evaluate import Predict, accuracy_section, compare, find_labelled, real_output, without_batch
from edgecnn.build.request import Frame, Request, Work
from edgecnn.errors import CalibrationError, DataError, MissingEngineError, OptionError
from edgecnn.export import artefact
from edgecnn.export.tflite.compiler import ABSENT, compile_model
from edgecnn.integer_graph import Array, IntegerGraph, write_npz
from edgecnn.manifest import Manifest
from edgecnn.passes.float_difference import FloatModel, largest_difference
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.profile import load_target
from edgecnn.quant.pipeline import Quantised, quantise
from edgecnn.recipe import load_recipe
from edgecnn.report.document import AccuracySection, EngineProof, Report
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import write_bundle
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.model import run_frames
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image

Progress = Callable[[str], None]
GOLDEN_FRAMES = 8


def build(request: Request, output: Path, progress: Progress = lambda what: None) -> Report:
    """Build a bundle at ``output`` and return its report.

    Args:
        request: What to build.
        output: The bundle's folder itself, or a ``.zip``.
        progress: Called with the name of the stage, again and again while it lasts.

    Raises:
        UnsupportedError: If nodes cannot be lowered; nothing is written then.
        DataError: If the pictures cannot be used.
        CalibrationError: If nothing was left to calibrate on, or no grid can hold what was seen.
        BundleError: If the bundle cannot be written; nothing is left half-written.
    """
    progress("folding")
    work = prepare(request)
    quantised = _quantise(work, progress)
    graph = quantised.graph
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as scratch:
        progress("lowering")
        files = _lower(work, graph, Path(scratch))
        manifest = manifest_of(work, quantised, files)
        progress("golden frames")
        golden = _golden(work, graph)
        proofs = _prove(work, manifest, files, golden, progress)
        accuracy = _evaluate(work, graph, files, progress) if request.evaluation else None
        report = reporting.report_of(work, quantised, manifest, files, proofs, accuracy)
        progress("writing")
        graph.save(Path(scratch) / manifest.graph)
        write_npz(Path(scratch) / manifest.golden, golden)
        contents: dict[str, Path | bytes] = {item.name: item for item in Path(scratch).rglob("*") if item.is_file()}
        write_bundle(output, manifest, contents | reporting.texts(work, report), request.overwrite)
    return report


def prepare(request: Request) -> Work:
    """Bring the float graph into normal form with the frame as its input; the source's graph is changed in place.

    Raises:
        UnsupportedError: Naming all nodes that have no normal form.
        OptionError: On an unknown target or recipe, or if mean, std or color do not fit the model.
    """
    if not request.targets:
        raise OptionError("name at least one target.")
    profiles, recipe = [load_target(name) for name in request.targets], load_recipe(request.recipe)
    model, expects = request.source.model, request.expects
    original, sample = FloatModel(model), _sample(model.graph.inputs[0])
    passes = normalise(model)
    difference = largest_difference([(original(sample), FloatModel(model)(sample))])
    entry = FrameInput(expects.mean, expects.std, expects.color)
    entry(model)
    FrameOutput()(model)
    _, height, width, channels = _static_shape(model.graph.inputs[0])
    preprocess = Preprocess((height, width), channels, expects.resize)
    return Work(request, profiles, recipe, preprocess, original, passes, difference, entry)


def _sample(value: ir.Value) -> dict[str, Array]:
    noise = np.random.default_rng(0).standard_normal(_static_shape(value)).astype(np.float32)
    return {
        str(value.name): noise if value.dtype == ir.DataType.FLOAT else np.clip(noise * 40 + 128, 0, 255).astype("u1")
    }


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


def _quantise(work: Work, progress: Progress) -> Quantised:
    bits = min(profile.weight_bits for profile in work.profiles)
    calibration = work.request.calibration
    try:
        quantised = quantise(work.request.source.model, _frames(work), work.recipe, bits, progress)
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
        files[engine] = artefact.write(engine, graph, folder, metadata)
    for profile in work.profiles:
        if profile.edge_tpu is not None:
            files[profile.engine] = _compiled(work, files[profile.engine])
    return files


def _compiled(work: Work, files: list[Path]) -> list[Path]:
    """Put the model compiled for the Edge TPU in front of ``files``, or say that there is no compiler here."""
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
        progress(f"proving on {engine}")
        try:
            with engines.load(engine, paths[0], inputs, outputs) as loaded:
                got = run_frames(loaded, golden["frames"])
        except MissingEngineError as error:
            work.notes.append(f"not proven on {engine}: {error}")
            continue
        proofs.append(reporting.proof(engine, manifest, expected, got))
    return proofs


def _evaluate(work: Work, graph: IntegerGraph, files: Mapping[str, list[Path]], progress: Progress) -> AccuracySection:
    """Compare every engine with the float model as it was imported."""
    folder = work.request.evaluation or Path()
    pictures = find_labelled(folder, work.request.expects.labels)

    def frames() -> Iterator[tuple[Frame, int | None]]:
        for item in pictures:
            progress("evaluating")
            yield work.preprocess(read_image(item.path)), item.label

    def reference(frame: Frame) -> npt.NDArray[np.float32]:
        first = work.original(work.entry.feed(frame))[:1]
        return without_batch(work.restored(first)[0])

    with ExitStack() as stack:
        predictors: dict[str, Predict] = {}
        for engine, paths in files.items():
            loaded = stack.enter_context(_load(graph, engine, paths[0]))
            predictors[engine] = real_output(loaded, graph.spec(graph.outputs[0]))
        return accuracy_section(compare(frames(), reference, predictors))
