"""Inspection: PASS, or REJECT if any label with a threshold reaches it."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output, Scores, Verdict
from edgecnn.vision.tasks.classify import label_names, probabilities


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Compare the scores of the first output with the bundle's thresholds.

    A model with one score has one label, that of the defect. A part is rejected from the threshold on, threshold
    included. ``label`` and ``score`` are those of the label that comes nearest to, or farthest beyond, its threshold.

    Raises:
        DataError: If there is no threshold to compare with, or the output is no vector of scores.
    """
    if not manifest.thresholds:
        raise DataError("the bundle's task is 'defect', but it has no threshold: nothing could ever be rejected.")
    scores = probabilities(outputs[0])
    by_label = Scores(label_names(manifest, scores.size), scores)
    margins = {label: by_label[label] - limit for label, limit in sorted(manifest.thresholds.items())}
    label = max(margins, key=lambda name: margins[name])
    verdict = Verdict.REJECT if margins[label] >= 0 else Verdict.PASS
    return Decision(label=label, score=by_label[label], scores=by_label, verdict=verdict)
