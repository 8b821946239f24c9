"""Lane markings frame by frame, so that folds can be counted together: of a bundle, its float model, a public model.

Counted as ``edgecnn evaluate`` counts them; see `edgecnn.runtime.evaluation.markings`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import cv2
import lane_public
import numpy as np
import numpy.typing as npt

from edgecnn.runtime.evaluation.markings import (
    SIDES,
    Matches,
    Points,
    by_source,
    f1_interval,
    label_points,
    match,
    pooled,
)
from edgecnn.runtime.model import Model, load
from edgecnn.vision.results import Output
from edgecnn.vision.tasks import lane

Image = npt.NDArray[np.uint8]
Marks = Mapping[str, Points]
Frame = dict[str, Any]
"""What was counted of a frame: its name, its source, and per model ``pooled`` and ``sided``, four counts each."""

PUBLIC, PUBLIC_NEAREST = "public, all", "public, nearest"


def frames_of(folder: Path) -> Iterator[tuple[str, str, Image, Image]]:
    """Yield name, source, frame and label mask of the frames that the folder's table names."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            mask = cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE)
            yield row["image"], row["source"], cv2.imread(str(folder / row["image"])), mask


def measure(folder: Path, models: Mapping[str, Callable[[Image], Marks]]) -> list[Frame]:
    """Count what each model finds in each frame of a folder."""
    return [
        {"image": name, "source": source} | {model: _counts(find(frame), mask) for model, find in models.items()}
        for name, source, frame, mask in frames_of(folder)
    ]


def _counts(found: Marks, mask: Image) -> dict[str, tuple[int, ...]]:
    wanted, width = label_points(mask), mask.shape[1]
    sided = sum((match(found[side], wanted[side], width) for side in SIDES), Matches())
    return {"pooled": astuple(match(pooled(found), pooled(wanted), width)), "sided": astuple(sided)}


def bundle_frames(bundle: Path, trained: Path, folder: Path, engines: Sequence[str], threads: int) -> list[Frame]:
    """Count what the float model and every engine of a bundle find."""
    models = {engine: load(bundle, engine, threads) for engine in engines}
    try:
        finders = {"float": _of_float(trained, models[engines[0]])}
        return measure(folder, finders | {engine: _of_model(model) for engine, model in models.items()})
    finally:
        for model in models.values():
            model.close()


def _of_model(model: Model) -> Callable[[Image], Marks]:
    return lambda frame: _marks(model, frame, model.infer(model.prepare(frame)).outputs)


def _of_float(trained: Path, model: Model) -> Callable[[Image], Marks]:
    from edgecnn.composer import open_model
    from edgecnn.composer.evaluate import float_model
    from edgecnn.runtime.evaluation.observe import RealOutput

    run = float_model(open_model(str(trained)), model.manifest)

    def find(frame: Image) -> Marks:
        pairs = zip(model.manifest.outputs, run(model.prepare(frame)[0]), strict=True)
        return _marks(model, frame, [RealOutput(contract, array) for contract, array in pairs])

    return find


def _marks(model: Model, frame: Image, outputs: Sequence[Output]) -> Marks:
    geometry = model.geometry(frame)
    return {side: geometry.to_frame(points) for side, points in lane.marks(outputs, model.manifest).items()}


def public_frames(data: Path) -> list[Frame]:
    """Count what the public road segmenter finds; it knows no sides."""
    segmenter, found = lane_public.Segmenter(data / lane_public.MODEL), []
    for name, source, frame, mask in frames_of(data / "lane"):
        points, wanted, width = segmenter(frame), pooled(label_points(mask)), mask.shape[1]
        near = lane_public.nearest(points, width / 2)
        counts = {PUBLIC: match(points, wanted, width), PUBLIC_NEAREST: match(near, wanted, width)}
        found.append(
            {"image": name, "source": source} | {key: {"pooled": astuple(item)} for key, item in counts.items()}
        )
    return found


def together(frames: Sequence[Frame], public: Sequence[Frame]) -> list[Frame]:
    """Return the frames with what the public model finds in the same ones."""
    known = {frame["image"]: frame for frame in public}
    return [known.get(frame["image"], {}) | frame for frame in frames]


def matches(frames: Sequence[Frame], model: str, how: str) -> list[Matches]:
    """Return the counts of one model, ``pooled`` or ``sided``; empty unless all frames have them."""
    found = [frame.get(model, {}).get(how) for frame in frames]
    return [] if None in found else [Matches(*item) for item in found]


def f1_rows(frames: Sequence[Frame], models: Sequence[str], how: str) -> list[tuple[str, list[float | None]]]:
    """Return the F1 of every model, None where it is not known: a row a source, and one of all sources together."""
    sources = [frame["source"] for frame in frames]
    counts = {model: matches(frames, model, how) for model in models}
    of_source = {model: by_source(found, sources) for model, found in counts.items() if found}
    rows = [
        (f"{source} ({sources.count(source)})", [_f1(of_source.get(model, {}).get(source)) for model in models])
        for source in sorted(set(sources))
    ]
    total = [_f1(sum(found, Matches()) if found else None) for found in counts.values()]
    return [*rows, (f"all sources ({len(frames)})", total)]


def interval(frames: Sequence[Frame], model: str) -> tuple[float, float] | None:
    """Return the 95 % interval of the F1 whatever the side, over sources; None where it is not known."""
    found = matches(frames, model, "pooled")
    return f1_interval(found, [frame["source"] for frame in frames]) if found else None


def _f1(found: Matches | None) -> float | None:
    return None if found is None else found.f1
