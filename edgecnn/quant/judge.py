"""How good an integer graph is beside the float model, on frames that were kept for that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.affine import dequantise
from edgecnn.export import artefact
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import Frame
from edgecnn.runtime.evaluation.statistics import sqnr_db


class Judge:
    """Says how near an integer graph is to the float model on some frames, in decibels.

    Args:
        model: The float graph.
        frames: uint8 (H, W, C), not those that weights were rounded on.
    """

    def __init__(self, model: ir.Model, frames: Sequence[Frame]) -> None:
        self._frames = frames
        runner, entry = FloatModel(model, threads=2), str(model.graph.inputs[0].name)
        self._wanted = self._columns([runner({entry: frame[None]}) for frame in frames])

    @staticmethod
    def _columns(rows: Sequence[Sequence[Array]]) -> list[npt.NDArray[np.float32]]:
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def __call__(self, graph: IntegerGraph) -> float:
        """Return the mean of `ratios`, 0 without any."""
        found = self.ratios(graph)
        return float(np.mean(found)) if found else 0.0

    def ratios(self, graph: IntegerGraph) -> tuple[float, ...]:
        """Return the signal-to-quantisation-noise ratio of every output that is real values, in decibels."""
        with artefact.opened("onnxruntime", graph, threads=2) as engine:
            got = self._columns([engine.run([frame[None]]) for frame in self._frames])
        grids = [graph.spec(name).quant for name in graph.outputs]
        return tuple(
            sqnr_db(wanted, dequantise(integers, grid))
            for wanted, integers, grid in zip(self._wanted, got, grids, strict=True)
            if grid is not None
        )
