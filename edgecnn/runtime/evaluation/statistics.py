"""How far integers are from the float model: signal-to-noise ratio, agreement, and how sure one can be of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FEW_IMAGES = 100
"""Below this many pictures shares are shown with their intervals, but nothing is concluded from them."""


@dataclass(frozen=True)
class Drop:
    """How much smaller a share of right answers became, with its interval; positive is worse.

    Attributes:
        value: The share that was lost on the pictures that were looked at, -1..1.
        low: Lower end of the interval.
        high: Upper end of the interval: with its confidence the true drop is not larger.
    """

    value: float
    low: float
    high: float


def sqnr_db(reference: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return the signal-to-quantisation-noise ratio in dB: ``10 log10(sum(r^2) / sum((r - o)^2))``.

    Both have their mean removed per image first: a shift that is common to all logits changes no decision and no
    softmax.

    Args:
        reference: Real values of shape (images, ...), or (...) of one image if it is one-dimensional.
        other: The same from the model that is judged.

    Returns:
        Decibels; ``inf`` if they are equal, ``-inf`` if the reference is constant and the other is not.

    Raises:
        ValueError: If the shapes differ or there are no values.

    Source: Widrow and Kollar 2008, "Quantization Noise", chapter 1 (power of signal over power of noise).
    """
    noise = Noise()
    noise.add(reference, other)
    return noise.decibels


class Noise:
    """`sqnr_db` over pictures that come one after the other, so that not all outputs are in memory at a time."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._noise = 0.0

    def add(self, reference: npt.ArrayLike, other: npt.ArrayLike) -> None:
        """Take in one more picture or a batch of them; see `sqnr_db`.

        Raises:
            ValueError: If the shapes differ or there are no values.
        """
        first, second = np.asarray(reference, np.float64), np.asarray(other, np.float64)
        if first.shape != second.shape or first.size == 0:
            raise ValueError(
                f"expected two arrays of one shape with values in them, got {first.shape} and {second.shape}"
            )
        clean, noisy = _centred(first), _centred(second)
        self._signal += float(np.square(clean).sum())
        self._noise += float(np.square(clean - noisy).sum())

    @property
    def decibels(self) -> float:
        """The ratio over all pictures so far: ``inf`` if nothing differs, ``-inf`` if the reference is constant."""
        if self._noise == 0:
            return math.inf
        return 10 * math.log10(self._signal / self._noise) if self._signal > 0 else -math.inf


def _centred(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rows = values.reshape(1, -1) if values.ndim < 2 else values.reshape(len(values), -1)
    centred: npt.NDArray[np.float64] = rows - rows.mean(axis=1, keepdims=True)
    return centred


def agreement(reference: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return the share of equal decisions, 0 to 1.

    Args:
        reference: Decisions of any shape: class indices (images,), or maps of them (images, H, W).
        other: The same from the model that is judged.

    Raises:
        ValueError: If the shapes differ or there are no decisions.
    """
    first, second = np.asarray(reference), np.asarray(other)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"expected decisions of one shape, got {first.shape} and {second.shape}")
    return float(np.mean(first == second))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds the true share with ``confidence``.

    Unlike ``p +- z * sqrt(p (1 - p) / n)`` it stays inside 0..1 and is honest where all, or none, succeeded.

    Args:
        successes: How many of ``n`` succeeded.
        n: Number of independent trials, at least 1.
        confidence: Probability, between 0 and 1.

    Raises:
        ValueError: If the counts or the confidence cannot be.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22; advised for
        small n by Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion".
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    z = _quantile(confidence)
    share, weight = successes / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # At the ends the formula gives exactly 0 or 1 but for rounding.
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def mcnemar_p(lost: int, gained: int) -> float:
    """Return the probability of a split at least this uneven if INT8 were neither better nor worse than float.

    Two-sided and exact: under that hypothesis each picture that only one of them has right is a fair coin.

    Args:
        lost: Pictures that float had right and INT8 has wrong.
        gained: Pictures that INT8 has right and float had wrong.

    Raises:
        ValueError: If a count is negative.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions", Psychometrika
        12; its exact form as in Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91.
    """
    if min(lost, gained) < 0:
        raise ValueError(f"expected counts of at least 0, got {lost} and {gained}")
    pairs, tail, ways = lost + gained, 0, 1
    for count in range(min(lost, gained) + 1):
        tail += ways
        ways = ways * (pairs - count) // (count + 1)
    # Whole numbers to the end: 2**pairs does not fit a float from 1024 pairs on, their ratio does.
    return min(1.0, 2 * tail / (1 << pairs))


def paired_drop(lost: int, gained: int, n: int, confidence: float = 0.95) -> Drop:
    """Return how much smaller the share of right answers became, both models on the same pictures.

    The interval is Tango's score interval: the drops that a score test would not reject. It stays within -1..1, keeps
    its confidence with few pictures that the two decide differently, and with none of them its ends are still not 0.

    Args:
        lost: Pictures that float had right and INT8 has wrong.
        gained: Pictures that INT8 has right and float had wrong.
        n: All pictures, at least 1.
        confidence: Probability that the interval holds the true drop, between 0 and 1.

    Raises:
        ValueError: If the counts or the confidence cannot be.

    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design", Statistics in Medicine 17, 891-908; advised by Fagerland, Lydersen and Laake 2014,
        "Recommended tests and confidence intervals for paired binomial proportions", Statistics in Medicine 33.
    """
    if min(lost, gained) < 0 or n < 1 or lost + gained > n:
        raise ValueError(f"expected lost + gained <= n and n >= 1, got {lost} and {gained} of {n}")
    z = _quantile(confidence)
    value = (lost - gained) / n
    high = _upper_limit(lost / n, gained / n, z * z / n)
    return Drop(value, -_upper_limit(gained / n, lost / n, z * z / n), high)


def images_needed(max_drop: float, lost: float = 0.0, gained: float = 0.0, confidence: float = 0.95) -> int | None:
    """Return how many pictures would show that the drop is below ``max_drop``: `Drop.high` would not exceed it.

    Args:
        max_drop: The drop that is allowed, a share between 0 and 1.
        lost: Share of pictures that float has right and INT8 wrong, as far as it is known.
        gained: Share of pictures that INT8 has right and float wrong, likewise.
        confidence: As for `paired_drop`.

    Returns:
        The number; None if no number would do, because ``lost - gained`` is not below ``max_drop``.

    Raises:
        ValueError: If the shares or the confidence cannot be.

    Source: Tango's statistic (see `paired_drop`) solved for the number of pairs.
    """
    if not 0 < max_drop < 1 or min(lost, gained) < 0 or lost + gained > 1:
        raise ValueError(f"expected shares with 0 < max_drop < 1, got {max_drop}, {lost} and {gained}")
    z, distance = _quantile(confidence), max_drop - (lost - gained)
    if distance <= 0:
        return None
    return math.ceil(z * z * _variance(lost, gained, max_drop) / distance**2)


def _variance(lost: float, gained: float, drop: float) -> float:
    """Return n times the variance of the observed drop if the true one is ``drop``: Tango 1998, equations 10 to 13.

    What else must be known for it, the share of pictures that are gained, is estimated under that hypothesis.
    """
    linear = (2 - lost + gained) * drop - lost - gained
    root = math.sqrt(max(0.0, linear**2 + 8 * gained * drop * (1 - drop)))
    expected = (root - linear) / 4
    return max(0.0, 2 * expected + drop * (1 - drop))


def _upper_limit(lost: float, gained: float, weight: float) -> float:
    """Return the largest drop whose squared distance from the observed one is ``weight`` variances (z^2 / n)."""
    inside, outside = lost - gained, 1.0
    for _ in range(60):  # Halving 2 this often leaves less than a double can tell.
        middle = (inside + outside) / 2
        if (middle - (lost - gained)) ** 2 <= weight * _variance(lost, gained, middle):
            inside = middle
        else:
            outside = middle
    return inside


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence must be between 0 and 1, got {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
