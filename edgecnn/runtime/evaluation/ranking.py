"""How well scores rank defective parts above good ones, whatever the threshold: both models on the same parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgecnn.runtime.evaluation.curves import area_under_roc, average_precision, counted
from edgecnn.runtime.evaluation.labelled import PASS, REJECT
from edgecnn.runtime.evaluation.section import Interval, PictureRow, Ranking, RankingSection

Values = npt.NDArray[np.float64]


def ranking(rows: Sequence[PictureRow]) -> RankingSection | None:
    """Return both models' areas, None where there are not parts of both kinds with a score.

    Args:
        rows: All pictures of an inspection whose one score decides.
    """
    good, defective = ([row for row in rows if row["label"] == label] for label in (PASS, REJECT))
    after = _scores(good, "int8"), _scores(defective, "int8")
    if not good or not defective or after[0] is None or after[1] is None:
        return None
    before = _scores(good, "float"), _scores(defective, "float")
    found: RankingSection = {
        "defective": len(defective),
        "good": len(good),
        "float": None,
        "int8": _ranked(after[0], after[1]),
        "drop": None,
    }
    if before[0] is None or before[1] is None:
        return found
    drop = paired_auroc_drop((before[0], before[1]), (after[0], after[1]))
    return found | {"float": _ranked(before[0], before[1]), "drop": drop}


def _scores(rows: Sequence[PictureRow], which: str) -> Values | None:
    """Return the scores of these pictures, None if one of them has none."""
    found = [row["float"] if which == "float" else row["int8"] for row in rows]
    scores = [None if item is None else item["score"] for item in found]
    known = [score for score in scores if score is not None]
    return np.asarray(known, np.float64) if len(known) == len(scores) else None


def _ranked(good: Values, defective: Values) -> Ranking:
    counts = counted(good, defective)
    area = area_under_roc(counts)
    low, high = auroc_interval(area, len(good), len(defective))
    return {"auroc": {"value": area, "low": low, "high": high}, "ap": average_precision(counts)}


def auroc_interval(area: float, good: int, defective: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds the true area under the ROC curve with ``confidence``.

    It stays within 0..1 and is honest where every defective part has a higher score than every good one.

    Args:
        area: The area that was found, 0..1.
        good: Number of good parts, at least 1.
        defective: Number of defective parts, at least 1.
        confidence: Probability, between 0 and 1.

    Raises:
        ValueError: If a number cannot be.

    Source: Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part
        2", Statistics in Medicine 25, 559-573, method 5: the areas that a score test would not reject, its variance
        that of Hanley and McNeil 1982.
    """
    if not 0 <= area <= 1 or min(good, defective) < 1 or not 0 < confidence < 1:
        raise ValueError(f"expected an area in 0..1 and parts of both kinds, got {area}, {good} and {defective}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def end(bound: float) -> float:
        inside, outside = area, bound
        for _ in range(60):  # Halving 1 this often leaves less than a double can tell.
            middle = (inside + outside) / 2
            if (middle - area) ** 2 <= z * z * _auroc_variance(middle, good, defective):
                inside = middle
            else:
                outside = middle
        return inside

    return end(0.0), end(1.0)


def _auroc_variance(area: float, good: int, defective: int) -> float:
    """Return the variance of the found area if ``area`` is the true one; Newcombe 2006, equation of method 5."""
    pairs = (good + defective) / 2 - 1
    spread = 1 + pairs * (1 - area) / (2 - area) + pairs * area / (1 + area)
    return area * (1 - area) * spread / (good * defective)


def paired_auroc_drop(
    before: tuple[Values, Values], after: tuple[Values, Values], confidence: float = 0.95
) -> Interval | None:
    """Return how much smaller the area became, both models on the same parts; None with fewer than 2 of a kind.

    Args:
        before: Float's scores of the good (good,) and of the defective parts (defective,).
        after: INT8's, of the same parts in the same order.
        confidence: Probability that the interval holds the true drop.

    Source: DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver
        operating characteristic curves", Biometrics 44, 837-845. Scores that rank alike give an interval of no width.
    """
    good, defective = len(before[0]), len(before[1])
    if min(good, defective) < 2:
        return None
    of_good, of_defective = (
        first - second for first, second in zip(_placements(*before), _placements(*after), strict=True)
    )
    value = float(of_good.mean())
    variance = float(of_good.var(ddof=1)) / good + float(of_defective.var(ddof=1)) / defective
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    return {"value": value, "low": max(-1.0, value - half), "high": min(1.0, value + half)}


def _placements(good: Values, defective: Values) -> tuple[Values, Values]:
    """Return the share of defective parts above each good one, and of good ones below each defective one.

    Ties count by half: DeLong et al. 1988, the structural components of equations 4 and 5.
    """
    return 1 - _share_below(good, defective), _share_below(defective, good)


def _share_below(scores: Values, others: Values) -> Values:
    """Return for each score (n,) the share of ``others`` that are below it, ties by half."""
    ordered = np.sort(others)
    below, not_above = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray((below + not_above) / (2 * len(others)), np.float64)
