"""An inspection's threshold must be within reach of INT8: what the grids must hold, and a check of the result.

A grid that was chosen on sound parts may end below the score from which a part is rejected. Then no part ever is, and
nothing else looks wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from edgecnn.composer.source import Expectation
from edgecnn.errors import CalibrationError
from edgecnn.integer_graph import Array
from edgecnn.manifest import Manifest
from edgecnn.vision.results import Output, Verdict
from edgecnn.vision.surface import FAINTEST, logit
from edgecnn.vision.tasks import INSPECTIONS, decoder

MARGIN = 1.0
"""Logits beyond a threshold that a grid holds."""
Range = tuple[float, float]


def needed_ranges(expects: Expectation, meanings: Mapping[str, str]) -> dict[str, Range]:
    """Return what the grid of every output must hold for decisions to be made, (low, high) by its name.

    Args:
        expects: What is known of the model: its task and thresholds.
        meanings: What each output's values can be taken for.
    """
    if expects.task not in INSPECTIONS:
        return {}
    told = (expects.decoding.get(name) for name in ("threshold", "pixel_threshold"))
    limits = [*expects.thresholds.values(), *(float(value) for value in told if isinstance(value, (int, float)))]
    farthest = max((abs(_logit(limit)) for limit in limits), default=0.0) + MARGIN
    ranges = {"logits": (-farthest, farthest), "probabilities": (0.0, 1.0)}
    return {name: ranges[meaning] for name, meaning in meanings.items() if meaning in ranges}


def _logit(probability: float) -> float:
    return logit(min(max(probability, FAINTEST), 1 - FAINTEST))


def check_reach(manifest: Manifest) -> None:
    """Refuse a bundle that could never reject a part, or never pass one, whatever its engine gives.

    Raises:
        CalibrationError: Saying how far its scores reach.
    """
    if manifest.task not in INSPECTIONS:
        return
    decode = decoder(manifest)
    found = [
        decode([Output(*pair) for pair in zip(manifest.outputs, arrays, strict=True)]) for arrays in _ends(manifest)
    ]
    scores = [decision.score for decision in found if decision.score is not None]
    for verdict, never in ((Verdict.REJECT, "reject"), (Verdict.PASS, "pass")):
        if verdict not in [decision.verdict for decision in found]:
            limits = sorted(
                {*manifest.thresholds.values(), *([] if manifest.threshold is None else [manifest.threshold])}
            )
            raise CalibrationError(
                f"the bundle could never {never} a part: its scores reach from {min(scores):.4g} to {max(scores):.4g} "
                f"in INT8, its threshold(s) are {', '.join(f'{limit:.4g}' for limit in limits)}. Calibrate on "
                "pictures of sound and of defective parts, or give another --threshold."
            )


def _ends(manifest: Manifest) -> Iterator[list[Array]]:
    """Yield outputs at the ends of their grids: maps at either end, vectors with one class above all others."""
    choices = [
        [np.full(spec.shape, end, spec.dtype) for end in (0, 255)]
        if len(spec.shape) != 2 or spec.shape[1] == 1
        else [np.eye(spec.shape[1], dtype=spec.dtype)[[place]] * 255 for place in range(spec.shape[1])]
        for spec in (output.tensor for output in manifest.outputs)
    ]
    for arrays in itertools.product(*choices):
        yield list(arrays)
