"""A public road segmenter on labelled road frames: the F1 of lane markings that a lane model has to beat.

    EDGECNN_DATA=../shared/data python benchmarks/lane_public.py
    EDGECNN_DATA=../shared/data python benchmarks/lane_public.py --sources yt-4yK8XBSUp2M test_misc --tolerance 5

`road-segmentation-adas-0001` (OpenVINO IR, class 3 is "mark") knows no sides: it is compared with the markings of both
sides of the own lane together. Markings of other lanes count as wrong in the row `all`; in `nearest`, only the marking
that is nearest to the middle of the picture on either side counts in every row, which spares it most of them.
Counted as `edgecnn evaluate` counts a lane bundle (`edgecnn.runtime.evaluation.markings`).
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.runtime.evaluation.markings import (
    TOLERANCE,
    Matches,
    by_source,
    f1_interval,
    label_points,
    match,
    pooled,
    row_middles,
)

MODEL = "models/road-segmentation-adas-0001.xml"
MARK = 3
Points = npt.NDArray[np.float64]


class Segmenter:
    """The public model on one thread."""

    def __init__(self, path: Path) -> None:
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._model = core.compile_model(core.read_model(path), "CPU", settings)
        self._height, self._width = self._model.input(0).shape[2:]

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Points:
        """Return the middles of all markings in pixels of the frame, BGR."""
        small = cv2.resize(frame, (self._width, self._height))
        scores = self._model(small.transpose(2, 0, 1)[None].astype(np.float32))[0][0]
        points = row_middles(scores.argmax(axis=0) == MARK)
        return points * (frame.shape[1] / self._width, frame.shape[0] / self._height)


def nearest(points: Points, middle: float) -> Points:
    """Keep in every row the point nearest to ``middle`` on either side."""
    kept: dict[tuple[float, bool], Points] = {}
    for point in points:
        place = (float(point[1]), bool(point[0] < middle))
        if place not in kept or abs(point[0] - middle) < abs(kept[place][0] - middle):
            kept[place] = point
    return np.array(list(kept.values())).reshape(-1, 2)


def table(title: str, matches: Sequence[Matches], sources: Sequence[str]) -> None:
    """Print the figures of every source and of all together."""
    low, high = f1_interval(matches, sources)
    print(f"\n{title}\n{'source':20} {'frames':>6} {'precision':>9} {'recall':>7} {'F1':>7}")
    for source, found in by_source(matches, sources).items():
        frames = sources.count(source)
        print(f"{source:20} {frames:6} {found.precision:9.3f} {found.recall:7.3f} {found.f1:7.3f}")
    total = sum(matches, Matches())
    print(f"{'all sources':20} {len(sources):6} {total.precision:9.3f} {total.recall:7.3f} {total.f1:7.3f}", end=" ")
    print(f"(95 %: {low:.3f} to {high:.3f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGECNN_DATA", "../shared/data")))
    parser.add_argument("--sources", nargs="*", help="only these")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="pixels in a frame 640 wide")
    options = parser.parse_args()
    folder = options.data / "lane"
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not options.sources or row["source"] in options.sources]
    segmenter, seconds = Segmenter(options.data / MODEL), 0.0
    every: list[Matches] = []
    own: list[Matches] = []
    for row in rows:
        frame, mask = (
            cv2.imread(str(folder / row["image"])),
            cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE),
        )
        begun = time.perf_counter()
        found = segmenter(frame)
        seconds += time.perf_counter() - begun
        wanted, width = pooled(label_points(mask)), frame.shape[1]
        every.append(match(found, wanted, width, options.tolerance))
        own.append(match(nearest(found, width / 2), wanted, width, options.tolerance))
    sources = [row["source"] for row in rows]
    print(f"tolerance {options.tolerance:g} px at 640 wide; {1000 * seconds / len(rows):.0f} ms a frame, one thread")
    table("all markings", every, sources)
    table("nearest: in every row the marking nearest to the middle on either side", own, sources)


if __name__ == "__main__":
    main()
