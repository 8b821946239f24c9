"""Run the float graph on calibration frames and keep statistics of the tensors that need a grid."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.errors import CalibrationError
from edgecnn.integer_graph import Array
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.statistics import Statistics
from edgecnn.runtime.engines import usable_processors

Frame = npt.NDArray[np.uint8]
MOST_WORKERS = 4
"""Frames under way at a time: each holds all observed tensors of one picture."""


def collect(
    model: ir.Model,
    names: Sequence[str],
    frames: Iterable[Frame],
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Statistics]:
    """Stream ``frames`` through ``model`` and gather statistics of the tensors ``names``.

    Args:
        model: Float graph with one uint8 NHWC input.
        names: Tensors to observe.
        frames: uint8 frames of shape (H, W, C) as the model takes them.
        progress: Called once a frame.

    Raises:
        CalibrationError: If there is no frame, or a tensor takes values that are not finite.
    """
    # Several frames side by side use the processors better than several threads on one.
    workers = min(usable_processors(), MOST_WORKERS)
    runner, entry = FloatModel(model, threads=1, outputs=names), str(model.graph.inputs[0].name)
    statistics = {name: Statistics(name) for name in names}
    count = 0
    for outputs in _ahead(lambda frame: runner({entry: frame[None]}), frames, workers):
        for name, values in zip(names, outputs, strict=True):
            statistics[name].update(values)
        count += 1
        progress()
    if count == 0:
        raise CalibrationError("calibration needs at least one image, got none; give a folder with --calibrate")
    return statistics


def _ahead(function: Callable[[Frame], list[Array]], frames: Iterable[Frame], workers: int) -> Iterator[list[Array]]:
    """Yield ``function(frame)`` in order, the next ones under way in other threads while the caller takes one in."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[list[Array]]] = deque()
        for frame in frames:
            # Copied: whoever gives the frames may use one buffer for all.
            pending.append(pool.submit(function, frame.copy()))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
