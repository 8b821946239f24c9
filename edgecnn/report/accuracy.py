"""How far integers are from the float model: signal-to-noise ratio, agreement, and how sure one can be of it."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FEW_IMAGES = 100


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
    first, second = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"expected two arrays of one shape with values in them, got {first.shape} and {second.shape}")
    clean, noisy = _centred(first), _centred(second)
    signal, noise = float(np.square(clean).sum()), float(np.square(clean - noisy).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


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
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence must be between 0 and 1, got {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # At the ends the formula gives exactly 0 or 1 but for rounding.
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)
