"""Both lines of a lane as curves through the places where markings were seen, whatever else was seen.

On a flat road with parallel lines that bend as ``z**2``, seen through a pinhole camera, the column of a line is

    x = pole + slope * d + bend / d        d = y - horizon

where ``pole`` and ``bend`` are those of both lines (Kluge and Lakshmanan 1995, "A deformable-template approach to lane
detection", Intelligent Vehicles Symposium, equation 1). Where the horizon is follows from which one fits best. Real
lanes widen and roads are not flat: ``pole`` and ``bend`` are only held near each other, which matters where one line
shows a single dash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.vision.lanes.evidence import Evidence

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_HORIZONS = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 23.0, 32.0]) / 96
"""Where the horizon may be above the highest row with a marking, as shares of the map's height."""
_ANCHORS, _LINES = 12, 16
"""Rows that straight lines are tried through, two at a time, and how many of these lines are looked at in pairs."""
_STRAIGHT, _NEAR = 4.0 / 160, 2.0 / 160
"""Farthest that markings may be from a first straight line, and from the curve, as shares of the map's width."""
_ROOM = 16.0 / 160
"""Least distance of both lines at the lower edge of the map, as a share of its width."""
_TOLERANCES = (8.0, 4.0, 2.0)
"""How far off markings begin to count less, in the steps of the fit, in units of half of ``_NEAR``."""
# Expected size of the coefficients, and how much they differ between both lines, in units of the error of one marking.
_EXPECTED = np.array([200.0, 400.0, 10.0])
_COUPLED = 1.0 / np.square([4.0, np.inf, 3.0])


@dataclass(frozen=True)
class Curves:
    """Both lines, left before right.

    Attributes:
        x: Column in every row, (2, H), in pixels of the map; NaN at and above the horizon.
        holds: Which rows' markings lie on their line, (2, H).
    """

    x: Values
    holds: Flags


def fit(evidence: Evidence) -> Curves:
    """Lay a curve through the markings of each side; what does not lie on it is left out.

    Starts from the straight lines that most markings are near to, and fits again with weights that fall with the
    distance (iteratively reweighted least squares with Cauchy's weights).
    """
    begin = _on_straight_lines(evidence)
    rows = np.flatnonzero(begin.any(axis=0))
    x, holds = np.full(evidence.x.shape, np.nan), np.zeros(evidence.x.shape, np.bool_)
    if len(rows):
        below = slice(int(rows[0]), None)
        fitted, off = _fitted(evidence, begin, below)
        x[:, below], holds[:, below] = fitted, (off <= _NEAR * evidence.width) & evidence.seen[:, below]
    return Curves(x, holds)


def _fitted(evidence: Evidence, begin: Flags, rows: slice) -> tuple[Values, Values]:
    """Return columns and distances of the markings from them, (2, rows), in pixels of the map."""
    height, unit = evidence.x.shape[1], _NEAR / 2 * evidence.width
    x, shares = evidence.x[:, rows] / unit, evidence.share[:, rows]
    above = np.maximum(_HORIZONS * height, 1.0)[:, None]
    depth = evidence.y[rows] - evidence.y[rows][0] + above
    # The last one is 1 where the lines are seen farthest, so that the expected sizes say something.
    basis = np.stack([np.ones_like(depth), depth / height, above / depth], axis=2)[:, None]
    weights = (shares * begin[:, rows])[None]
    for tolerance in _TOLERANCES:
        coefficients = _solved(basis, x, weights)
        fitted = (basis @ coefficients)[..., 0]
        steep = np.hypot(1.0, coefficients[..., 1, :] * unit / height)
        off = np.abs(fitted - x) / steep
        weights = shares / (1.0 + np.square(off / tolerance))
    distance = np.square(_TOLERANCES[-1])
    cost = (shares * np.log1p(np.square(off) / distance)).sum(axis=(1, 2)) + _unlikely(coefficients) / distance
    best = int(np.argmin(cost))
    return fitted[best] * unit, off[best] * unit


def _unlikely(coefficients: Values) -> Values:
    """Return how far coefficients (horizons, 2, 3, 1) are from what is expected, (horizons,)."""
    sizes = np.square(coefficients[..., 0] / _EXPECTED).sum(axis=(1, 2))
    return np.asarray(sizes + (np.square(coefficients[:, 1, :, 0] - coefficients[:, 0, :, 0]) * _COUPLED).sum(axis=1))


def _solved(basis: Values, x: Values, weights: Values) -> Values:
    """Return coefficients (horizons, 2, 3, 1) of both sides by weighted least squares, held as the module says.

    Args:
        basis: (horizons, 1, rows, 3).
        x: (2, rows).
        weights: (horizons or 1, 2, rows).
    """
    weighted = (basis * weights[..., None]).swapaxes(2, 3)
    moments = np.zeros((len(basis), 2, 3, 2, 3))
    both = np.arange(2)
    moments[:, both, :, both] = (weighted @ basis).swapaxes(0, 1) + np.diag(1 / np.square(_EXPECTED) + _COUPLED)
    moments[:, 0, :, 1] = moments[:, 1, :, 0] = -np.diag(_COUPLED)
    targets = (weighted @ x[..., None]).reshape(len(basis), 6, 1)
    found = np.linalg.solve(moments.reshape(len(basis), 6, 6), targets)
    return np.asarray(found.reshape(len(basis), 2, 3, 1), np.float64)


def _on_straight_lines(evidence: Evidence) -> Flags:
    """Return which markings are near to the two straight lines that most of them are near to.

    Of both lines the right one lies right of the left one, from the lower edge of the map up to where the shorter one
    ends; a line may also be missing.
    """
    room = np.array([-_STRAIGHT, _ROOM]) * evidence.width
    left, right = (_straight_lines(evidence, side) for side in range(2))
    ends = np.stack(np.broadcast_arrays(np.maximum(left.top[:, None], right.top), float(len(evidence.y))), axis=2)
    start, slope = right.start - left.start[:, None], right.slope - left.slope[:, None]
    apart = start[..., None] + slope[..., None] * ends
    fits = (apart > room).all(axis=2)
    fits[-1], fits[:, -1] = True, True
    pairs = np.where(fits, left.support[:, None] + right.support, -1.0)
    first, second = divmod(int(pairs.argmax()), pairs.shape[1])
    return np.stack([left.near[first], right.near[second]])


@dataclass(frozen=True)
class _Lines:
    """Straight lines ``x = start + slope * y``; the last one stands for no line.

    Attributes:
        start: (lines,).
        slope: (lines,).
        near: Which markings are near, (lines, H).
        support: Sum of their probabilities, (lines,).
        top: The highest of their rows, (lines,).
    """

    start: Values
    slope: Values
    near: Flags
    support: Values
    top: Values


def _straight_lines(evidence: Evidence, side: int) -> _Lines:
    """Return the lines through two markings of a side that most markings are near to."""
    x, y, seen = evidence.x[side], evidence.y, np.flatnonzero(evidence.seen[side])
    anchors = seen[np.unique(np.linspace(0, len(seen) - 1, _ANCHORS).astype(int))] if len(seen) > 1 else seen[:0]
    first, second = (anchors[index] for index in np.triu_indices(len(anchors), 1))
    slope = np.append((x[second] - x[first]) / (y[second] - y[first]), 0.0)
    start = np.append(x[first], 0.0) - slope * np.append(y[first], 0.0)
    off = np.abs(start[:, None] + slope[:, None] * y - x)
    near = (off <= _STRAIGHT * evidence.width * np.hypot(1.0, slope)[:, None]) & evidence.seen[side]
    near[-1] = False
    support = near @ evidence.share[side]
    best = np.append(np.argsort(-support[:-1], kind="stable")[:_LINES], len(support) - 1)
    return _Lines(start[best], slope[best], near[best], support[best], near[best].argmax(axis=1) + 0.5)
