"""The threshold of an inspection after quantisation: the one at which INT8 decides as float does.

Rounding moves scores. Where one moves across the threshold, a part that float rejects passes, or the other way round;
a threshold a little beside the old one may keep both decisions. It is fitted to what float decides about calibration
frames, which needs no labels. What labels say about it is `edgecnn.runtime.evaluation.inspection`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from edgecnn.composer.fidelity import fidelity
from edgecnn.composer.request import Work
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import Manifest
from edgecnn.quant.calibrate import Frame
from edgecnn.report.document import FidelitySection
from edgecnn.runtime.evaluation.section import PictureRow
from edgecnn.vision.tasks import INSPECTIONS

CLEARANCE = 0.005
"""How far from a score a fitted threshold lies."""


def beside_float(
    work: Work, manifest: Manifest, graph: IntegerGraph, frames: Sequence[Frame]
) -> tuple[Manifest, FidelitySection]:
    """Compare INT8 with float, and let the threshold follow the scores; see `fidelity`.

    Returns:
        The contract, with another threshold if that keeps more of float's decisions; and the comparison under it. A
        threshold that the user has given stays.
    """
    found, rows = fidelity(work, manifest, graph, frames)
    threshold = manifest.threshold
    if manifest.task not in INSPECTIONS or threshold is None or work.request.expects.threshold_told:
        return manifest, found
    best = fitted(_scores(rows), threshold)
    if best == threshold:
        return manifest, found
    provenance = replace(manifest.provenance, threshold=threshold)
    moved = replace(manifest.with_threshold(best), provenance=provenance)
    found, _ = fidelity(work, moved, graph, frames)
    work.notes.append(
        f"the threshold is {best:.4g} in INT8, {threshold:.4g} in float: it follows the scores, so that INT8 decides "
        f"as float does about more of the {found['frames']} held-out calibration pictures. To keep it: --threshold "
        f"{threshold:g}."
    )
    return moved, found


def _scores(rows: Sequence[PictureRow]) -> list[tuple[float, float]]:
    pairs = [(row["float"] and row["float"]["score"], row["int8"]["score"]) for row in rows]
    return [(before, after) for before, after in pairs if before is not None and after is not None]


def fitted(scores: Sequence[tuple[float, float]], threshold: float) -> float:
    """Return the threshold of INT8 that keeps float's decisions; a part is rejected from it on.

    Rules, the first counts most:
        1. As few pictures as possible are decided otherwise than by float at ``threshold``.
        2. As few of these as possible pass.
        3. It moves as little as possible, not at all where no other does better; and keeps `CLEARANCE` away from
            scores, or the middle between two.

    Args:
        scores: Of every picture: float's and INT8's, 0..1.
        threshold: Float's threshold.
    """

    def cost(place: float) -> tuple[int, int, float]:
        escapes = sum(before >= threshold and after < place for before, after in scores)
        false_rejects = sum(before < threshold and after >= place for before, after in scores)
        return escapes + false_rejects, escapes, abs(place - threshold)

    places = [threshold]
    for low, high in itertools.pairwise(sorted({after for _, after in scores})):
        clear = min(CLEARANCE, (high - low) / 2)
        places += [low + clear, high - clear]
    return min(places, key=cost)
