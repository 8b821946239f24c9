"""The INT8 model beside the float model it came from, on pictures that were not used for calibration."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.errors import DataError
from edgecnn.integer_graph import Array
from edgecnn.report.accuracy import agreement, sqnr_db, wilson_interval
from edgecnn.report.document import AccuracySection, EngineAccuracy
from edgecnn.runtime.engines import Engine
from edgecnn.tensor import TensorSpec
from edgecnn.vision.frames import list_images

Frame = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.floating[Any]]
Predict = Callable[[Frame], Logits]
LABEL_FILES = ("labels.csv", "val.csv")


@dataclass(frozen=True)
class Labelled:
    """A picture's path and its class index, None where no label is known."""

    path: Path
    label: int | None


def find_labelled(folder: Path, labels: Sequence[str] = ()) -> list[Labelled]:
    """Find the pictures to evaluate on, and their classes.

    Rules:
        1. A table (`LABEL_FILES`) in the folder or beside it with columns ``image`` and ``label`` (an index, or a name
           out of ``labels``) says both.
        2. Else, with one sub-folder for each name in ``labels`` that occurs, the sub-folder is the class.
        3. Else there are no labels; agreement with the float model is measured all the same.

    Raises:
        DataError: If there is no picture, or the table cannot be read or names other files or labels.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of pictures to evaluate on.")
    for table in [place / name for place in (folder, folder.parent) for name in LABEL_FILES]:
        if table.is_file():
            return _from_table(table, folder, labels)
    index = {name: number for number, name in enumerate(labels)}
    paths = list_images(folder)
    return [Labelled(path, index.get(path.relative_to(folder).parts[0])) for path in paths]


def _from_table(table: Path, folder: Path, labels: Sequence[str]) -> list[Labelled]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: expected a table of labels in UTF-8, comma-separated: {error}.") from error
    if not rows or not {"image", "label"} <= set(rows[0]):
        raise DataError(
            f"{table}: expected the columns 'image' and 'label', got {list(rows[0]) if rows else 'no row'}."
        )
    found = [Labelled(table.parent / (row["image"] or ""), _label(row["label"] or "", labels, table)) for row in rows]
    inside = [item for item in found if folder in item.path.parents]
    if not inside:
        raise DataError(f"{table}: it names no picture below {folder}.")
    return inside


def _label(text: str, labels: Sequence[str], table: Path) -> int:
    if text in labels:
        return labels.index(text)
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{table}: '{text}' is neither a class index nor one of the model's labels.") from error


def without_batch(array: Array) -> Array:
    """Drop a batch axis of length 1; some detectors have none."""
    return array[0] if array.shape[0] == 1 else array


def real_output(engine: Engine, spec: TensorSpec) -> Predict:
    """Return a function from a frame to the first output of ``engine`` as real values, without the batch axis."""

    def predict(frame: Frame) -> Logits:
        integers = without_batch(engine.run([frame[None]])[0])
        return integers.astype(np.float32) if spec.quant is None else dequantise(integers, spec.quant)

    return predict


@dataclass
class Comparison:
    """Collects the outputs of the float model and of engines on the same pictures."""

    reference: list[Logits]
    engines: dict[str, list[Logits]]
    labels: list[int | None]


def compare(
    pictures: Iterable[tuple[Frame, int | None]], reference: Predict, engines: dict[str, Predict]
) -> Comparison:
    """Run the float model and every engine on every picture.

    Args:
        pictures: Frames (H, W, C) at the model's size, with their class.
        reference: The float model: its first output as real values.
        engines: The same for every engine, by name.
    """
    result = Comparison([], {name: [] for name in engines}, [])
    for frame, label in pictures:
        result.reference.append(reference(frame))
        for name, predict in engines.items():
            result.engines[name].append(predict(frame))
        result.labels.append(label)
    return result


def accuracy_section(comparison: Comparison) -> AccuracySection:
    """Turn a comparison into the report's section; the first engine stands for the bundle.

    Raises:
        DataError: If there is no picture.
    """
    if not comparison.labels:
        raise DataError("there is no picture to evaluate on.")
    reference = np.stack(comparison.reference)
    outputs = {name: np.stack(rows) for name, rows in comparison.engines.items()}
    rows = [_row(name, reference, values, comparison.labels) for name, values in outputs.items()]
    first = rows[0]
    count = len(comparison.labels)
    share = first["agreement"] or 0.0
    low, high = wilson_interval(round(share * count), count)
    top1 = first["top1"]
    right = _top1(reference, comparison.labels)
    return {
        "images": count,
        "agreement": {"value": share, "low": low, "high": high},
        "sqnr_db": first["sqnr_db"],
        "top1": None if top1 is None or right is None else {"float": right, "int8": top1},
        "per_engine": rows,
    }


def _row(name: str, reference: Logits, values: Logits, labels: Sequence[int | None]) -> EngineAccuracy:
    ratio = sqnr_db(reference, values)
    return {
        "engine": name,
        "agreement": agreement(reference.argmax(axis=-1), values.argmax(axis=-1)),
        "sqnr_db": ratio if np.isfinite(ratio) else None,
        "top1": _top1(values, labels),
    }


def _top1(values: Logits, labels: Sequence[int | None]) -> float | None:
    known = [index for index, label in enumerate(labels) if label is not None]
    if not known or values.ndim != 2:
        return None
    wanted = np.asarray([labels[index] for index in known])
    return float(np.mean(values[known].argmax(axis=-1) == wanted))
