"""Areas under curves, from counts: how many sound and how many defective things have each score.

Counts are arrays (levels,), the lowest score first, one place for every score that occurs or for every step of a grid.
Things with the same score are tied: no threshold parts them, so they make one step of a curve. Pictures are counted
score by score with `counted`; pixels are too many to be kept and are counted on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

PRO_LIMIT = 0.3
"""The false positive rate up to which the area under the per-region overlap is taken; Bergmann et al. 2021."""


@dataclass(frozen=True)
class Counts:
    """How many sound and how many defective things have each score.

    Attributes:
        good: (levels,), the lowest score first.
        defective: Likewise.
    """

    good: Values
    defective: Values

    def reached(self) -> tuple[Values, Values]:
        """Return how many good and how many defective things reach each score, the highest score first."""
        return np.cumsum(self.good[::-1]), np.cumsum(self.defective[::-1])

    @property
    def is_complete(self) -> bool:
        """Whether there is something of both kinds: else there is no curve."""
        return bool(self.good.sum() > 0 and self.defective.sum() > 0)


def counted(good: npt.ArrayLike, defective: npt.ArrayLike) -> Counts:
    """Count scores, higher is more defective; both of shape (things,)."""
    scores = np.concatenate([np.asarray(good, np.float64), np.asarray(defective, np.float64)])
    levels, places = np.unique(scores, return_inverse=True)
    first = len(scores) - np.size(defective)
    sides = [np.bincount(part, minlength=len(levels)).astype(np.float64) for part in (places[:first], places[first:])]
    return Counts(sides[0], sides[1])


def roc(counts: Counts) -> tuple[Values, Values]:
    """Return false and true positive rates from (0, 0) to (1, 1), one point a level; both (levels + 1,).

    Raises:
        ValueError: If there is nothing of one kind.
    """
    _check(counts)
    good, defective = counts.reached()
    return np.concatenate([[0.0], good / good[-1]]), np.concatenate([[0.0], defective / defective[-1]])


def area_under_roc(counts: Counts) -> float:
    """Return the probability that a defective thing has a higher score than a good one, ties counted by half.

    Raises:
        ValueError: If there is nothing of one kind.

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC)
        curve", Radiology 143: the area by trapezoids is the Mann-Whitney statistic.
    """
    return _trapezoids(*roc(counts))


def average_precision(counts: Counts) -> float:
    """Return the mean of the precision over the recall: ``sum over levels (R_n - R_{n-1}) P_n``.

    Nothing is interpolated between the levels: that would promise what no threshold reaches.

    Raises:
        ValueError: If there is nothing defective.

    Source: Davis and Goadrich 2006, "The relationship between precision-recall and ROC curves", ICML.
    """
    good, defective = counts.reached()
    if defective[-1] == 0:
        raise ValueError("expected something defective, got none")
    precision = defective / np.maximum(good + defective, 1)
    return float(np.sum(np.diff(defective, prepend=0.0) * precision) / defective[-1])


def best_f1(counts: Counts) -> tuple[float, int]:
    """Return the highest F1 of any threshold, and the lowest level that is defective then.

    ``F1 = 2 TP / (2 TP + FP + FN)``. Of thresholds that are as good as each other it is the highest.

    Raises:
        ValueError: If there is nothing defective.
    """
    good, defective = counts.reached()
    if defective[-1] == 0:
        raise ValueError("expected something defective, got none")
    scores = 2 * defective / (good + defective + defective[-1])
    best = int(np.argmax(scores))
    return float(scores[best]), len(scores) - 1 - best


def area_under_pro(good: Values, overlap: Values, limit: float = PRO_LIMIT) -> float:
    """Return the area under the per-region overlap up to a false positive rate, divided by that rate: 0..1.

    Args:
        good: (levels,) how many good pixels, of all pictures, have each score, the lowest first.
        overlap: (levels,) for each score the share of a defect's pixels that have it, summed over the defects: a small
            defect weighs as much as a large one.
        limit: The false positive rate, in (0, 1].

    Raises:
        ValueError: If there is no good pixel or no defect.

    Source: Bergmann, Batzner, Fauser, Sattlegger and Steger 2021, "The MVTec Anomaly Detection Dataset", IJCV 129,
        section 5.2.
    """
    rate, share = roc(Counts(good, overlap))
    inside = rate <= limit
    ends = float(np.interp(limit, rate, share))
    return _trapezoids(np.append(rate[inside], limit), np.append(share[inside], ends)) / limit


def _trapezoids(x: Values, y: Values) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _check(counts: Counts) -> None:
    if not counts.is_complete:
        raise ValueError(
            f"expected good and defective things, got {counts.good.sum():g} and {counts.defective.sum():g}"
        )
