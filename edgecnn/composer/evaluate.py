"""The INT8 model beside the float model it came from, on pictures that were not used for calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.composer.source import Source
from edgecnn.errors import DataError
from edgecnn.integer_graph import Array
from edgecnn.manifest import Manifest
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FloatRun, FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.report.document import AccuracySection, EngineAccuracy, TopOne
from edgecnn.runtime.engines import Engine
from edgecnn.runtime.evaluation.decisions import MODEL, decisions
from edgecnn.runtime.evaluation.mistakes import Mistake
from edgecnn.runtime.evaluation.observe import Observer, Picture, Run
from edgecnn.runtime.evaluation.section import DecisionsSection, Interval
from edgecnn.runtime.evaluation.statistics import wilson_interval
from edgecnn.tensor import TensorSpec

Frame = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.floating[Any]]
Predict = Callable[[Frame], Logits]


@dataclass(frozen=True)
class Evaluation:
    """What the export's pictures gave: in short, of every engine, and decision by decision, of the first one.

    ``mistakes`` are the worst ones of the first engine.
    """

    accuracy: AccuracySection
    decisions: DecisionsSection
    mistakes: tuple[Mistake, ...] = ()


def without_batch(array: Array) -> Array:
    """Drop a batch axis of length 1; some detectors have none."""
    return array[0] if array.shape[0] == 1 else array


def real_output(engine: Engine, spec: TensorSpec) -> Predict:
    """Return a function from a frame to the first output of ``engine`` as real values, without the batch axis."""

    def predict(frame: Frame) -> Logits:
        integers = without_batch(engine.run([frame[None]])[0])
        return integers.astype(np.float32) if spec.quant is None else dequantise(integers, spec.quant)

    return predict


def float_run(model: FloatRun, entry: FrameInput) -> Run:
    """Return a function from a frame to the outputs of the float model.

    Args:
        model: The float model as it was imported, with its outputs in the layouts of a bundle.
        entry: The pass that knows what the model is fed in place of a frame; it must have run.
    """
    return lambda frame: model(entry.feed(frame))


def float_model(source: Source, manifest: Manifest) -> Run:
    """Make a source model ready to be compared with the bundle that was made from it, or from one like it.

    Its input is normalised as the manifest's provenance says. The source's graph is changed in place.

    Raises:
        ModelError: If it cannot be run.
        DataError: If its outputs or its input are not of the bundle's shapes.
        OptionError: If mean, std or colour of the bundle do not fit its input.
    """
    told = manifest.provenance
    original, entry = FloatModel(source.model), FrameInput(told.mean, told.std, told.source_color)
    normalise(source.model)
    entry(source.model)
    leaving = FrameOutput()
    leaving(source.model)
    taken = source.model.graph.inputs[0].shape
    shape = () if taken is None else tuple(taken.numpy())
    if shape != manifest.input.tensor.shape:
        raise DataError(f"the float model takes frames of shape {shape}, the bundle {manifest.input.tensor.shape}.")
    run = float_run(leaving.behind(original), entry)
    wanted = [output.tensor.shape for output in manifest.outputs]
    found = [output.shape for output in run(np.zeros(shape[1:], np.uint8))]
    if found != wanted:
        raise DataError(f"the float model returns shapes {found}, the bundle {wanted}: it is not the bundle's source.")
    return run


def evaluate(
    manifest: Manifest,
    pictures: Iterable[Picture | None],
    reference: Run,
    engines: Mapping[str, Run],
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Evaluation:
    """Run the float model and every engine on every picture.

    Args:
        manifest: The bundle's contract.
        pictures: Pictures at the model's size; None is left out.
        reference: The float model.
        engines: The bundle's engines by name; the first stands for the bundle.
        skipped: Filled while ``pictures`` are read: those that cannot be used.
        notes: What the reader should know about the pictures.

    Raises:
        DataError: If no picture can be used.
    """
    observers = {name: Observer(manifest) for name in engines}
    for picture in pictures:
        if picture is None:
            continue
        real = reference(picture.frame)
        for name, run in engines.items():
            observers[name].add(picture, run(picture.frame), real)
    found = {name: _found(manifest, name, item, skipped, notes) for name, item in observers.items()}
    own, first = next(iter(found.values())), next(iter(observers.values()))
    return Evaluation(_accuracy(own, [_row(name, item) for name, item in found.items()]), own, tuple(first.mistakes))


def _found(
    manifest: Manifest, name: str, observer: Observer, skipped: Sequence[str], notes: Sequence[str]
) -> DecisionsSection:
    counted = observer.label_masks, observer.pixels, observer.lanes
    return decisions(manifest, name, observer.rows, observer.noise, MODEL, skipped, notes, *counted)


def _accuracy(own: DecisionsSection, rows: list[EngineAccuracy]) -> AccuracySection:
    return {
        "images": own["images"],
        "agreement": _agreement(own),
        "sqnr_db": rows[0]["sqnr_db"],
        "top1": _top1(own),
        "per_engine": rows,
    }


def _top1(own: DecisionsSection) -> TopOne | None:
    right = own["accuracy"]
    if right is None or right["float"] is None:
        return None
    return {"float": right["float"]["value"], "int8": right["int8"]["value"]}


def _agreement(found: DecisionsSection) -> Interval | None:
    """Return the share of equal decisions; of masks, that of equal pixels with the interval of as many pictures."""
    if found["masks"] is None:
        return found["agreement"]
    share, count = found["masks"]["pixels"], found["images"]
    low, high = wilson_interval(round(share * count), count)
    return {"value": share, "low": min(low, share), "high": max(high, share)}


def _row(name: str, found: DecisionsSection) -> EngineAccuracy:
    share, right = _agreement(found), found["accuracy"]
    return {
        "engine": name,
        "agreement": None if share is None else share["value"],
        "sqnr_db": found["noise"][0]["sqnr_db"],
        "top1": None if right is None else right["int8"]["value"],
    }
