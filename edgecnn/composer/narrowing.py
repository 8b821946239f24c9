"""What fewer weight bits cost: the graph that was made, beside the one that the same recipe makes with 8 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edgecnn.affine import dequantise
from edgecnn.composer.evaluate import float_run
from edgecnn.composer.request import Progress, Rung, Work
from edgecnn.composer.rung import quantise_with
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.report.document import NarrowingSection
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.evaluation.statistics import sqnr_db
from edgecnn.runtime.model import run_frames

FULL_BITS = 8


def narrowing(work: Work, rung: Rung, golden: Mapping[str, Array], progress: Progress) -> NarrowingSection | None:
    """Quantise once more, with 8 bits, and compare both graphs with the float model on the golden frames.

    Args:
        work: The folded model.
        rung: What the bundle is made of.
        golden: ``frames`` (N, H, W, C) uint8, and the outputs ``out_0``, ... that its graph gives.
        progress: Told of every step.

    Returns:
        The section of the report, None where no target narrows.
    """
    if work.weight_bits == FULL_BITS:
        return None
    wide = quantise_with(work, rung.recipe, lambda stage, steps: progress(f"8 bits, for comparison: {stage}", steps), 8)
    frames, float_model = golden["frames"].astype(np.uint8), float_run(work.original, work.entry)
    wanted = [np.concatenate(column) for column in zip(*(float_model(frame) for frame in frames), strict=True)]
    narrow_outputs = [golden[f"out_{index}"] for index in range(len(wanted))]
    wide_outputs = run_frames(ReferenceEngine(wide.quantised.graph), frames)
    return {
        "targets": [profile.name for profile in work.profiles if profile.weight_bits == work.weight_bits],
        "others": [profile.name for profile in work.profiles if profile.weight_bits > work.weight_bits],
        "weight_bits": work.weight_bits,
        "frames": len(frames),
        "sqnr_db": _worst(rung.quantised.graph, wanted, narrow_outputs),
        "sqnr_db_8_bits": _worst(wide.quantised.graph, wanted, wide_outputs),
    }


def _worst(graph: IntegerGraph, wanted: Sequence[Array], outputs: Sequence[Array]) -> float | None:
    """Return the smallest signal-to-noise ratio of the outputs, None where none is finite or all are indices."""
    ratios = [
        sqnr_db(real.astype(np.float32), dequantise(integers, spec.quant))
        for real, integers, spec in zip(wanted, outputs, map(graph.spec, graph.outputs), strict=True)
        if spec.quant is not None
    ]
    return min((ratio for ratio in ratios if math.isfinite(ratio)), default=None)
