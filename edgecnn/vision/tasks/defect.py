"""Inspection: PASS, or REJECT where something is wrong with the part.

What the network gives decides how it is read. A map of defective pixels, a vector of classes that share one threshold
(``threshold`` in the manifest's ``decoding``), or both: see `edgecnn.vision.surface`. A vector alone whose labels have
thresholds of their own is read here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision import surface
from edgecnn.vision.results import Decision, Output, Scores, Verdict
from edgecnn.vision.tasks import Decode
from edgecnn.vision.tasks.classify import label_names, probabilities


def decoder(manifest: Manifest) -> Decode:
    """Return what decides about a part.

    Raises:
        DataError: If there is no threshold to compare with, or the outputs are not what an inspection has.
    """
    if not manifest.thresholds and manifest.threshold is None:
        raise DataError("the bundle's task is 'defect', but it has no threshold: nothing could ever be rejected.")
    if "threshold" in manifest.decoding or any(output.layout == "NHWC" for output in manifest.outputs):
        return surface.Inspector(manifest)
    return functools.partial(_decide, manifest=manifest)


def _decide(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Reject a part if one of the scores of the labels that have a threshold reaches it.

    ``label`` and ``score`` are those of the label that comes nearest to, or farthest beyond, its threshold; of a
    picture that was run in tiles, in the tile where it does. A model with one score has one label, that of the defect.

    Raises:
        DataError: If the first output is no vector of scores.
    """
    found = [_compared(row, manifest) for row in _rows(outputs[0])]
    return max(found, key=lambda item: item[0])[1]


def _rows(vector: Output) -> list[Output]:
    """Return one output a tile; one alone where there are none."""
    rows = [replace(vector, integers=row[None]) for row in vector.integers]
    return rows if vector.integers.ndim > 1 else [vector]


def _compared(vector: Output, manifest: Manifest) -> tuple[float, Decision]:
    """Return how far the scores are beyond the thresholds, and the decision."""
    scores = probabilities(vector)
    by_label = Scores(label_names(manifest, scores.size), scores)
    margins = {label: by_label[label] - limit for label, limit in sorted(manifest.thresholds.items())}
    label = max(margins, key=lambda name: margins[name])
    verdict = Verdict.REJECT if margins[label] >= 0 else Verdict.PASS
    return margins[label], Decision(label=label, score=by_label[label], scores=by_label, verdict=verdict)
