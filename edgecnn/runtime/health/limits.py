"""The range of each feature in which a picture is good, and what it is called outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.runtime.health.features import SMALLEST_LEVEL
from edgecnn.runtime.health.reference import FEATURES, Reference
from edgecnn.runtime.health.settings import HealthSettings

Float64 = npt.NDArray[np.float64]

CLEARLY = 0.1


@dataclass(frozen=True)
class _Meaning:
    """What a feature is to people.

    Attributes:
        words: What it is called in a sentence.
        below: Kind of finding where it is too small.
        above: Kind of finding where it is too large.
        tolerance: Which of `HealthSettings` belongs to it.
        shown: Brings a value into the unit of ``words``.
        laxity: Factor on the tolerance: how much less sure this feature is than others that share it.
    """

    words: str
    below: str
    above: str
    tolerance: str
    shown: Callable[[float], float]
    laxity: float = 1.0


def _level(value: float) -> float:
    return math.exp(value) - SMALLEST_LEVEL


def _percent(value: float) -> float:
    return 100 * value


_MEANINGS = {
    "brightness": _Meaning("mean grey level of 255", "unlike", "unlike", "light", _level),
    "blue": _Meaning("blue over green", "unlike", "unlike", "light", math.exp),
    "red": _Meaning("red over green", "unlike", "unlike", "light", math.exp),
    "contrast": _Meaning("fine edges over the contrast", "blurred", "noisy", "detail", math.exp, 3.0),
    "detail": _Meaning("fine edges over the layout's", "blurred", "noisy", "detail", math.exp),
    "fineness": _Meaning("fine edges over coarse ones", "blurred", "noisy", "detail", math.exp),
    "grain": _Meaning("noise in the quietest places", "noisy", "noisy", "detail", math.exp, 2.0),
    "texture": _Meaning("texture", "blurred", "blurred", "detail", math.exp, 2.0),
    "fine": _Meaning("fine edges", "blurred", "noisy", "detail", math.exp),
    "distance": _Meaning("distance from the calibration frames", "unlike", "unlike", "likeness", float),
    "right": _Meaning("movement to the right in % of the width", "shifted", "shifted", "shift", _percent),
    "down": _Meaning("movement down in % of the height", "shifted", "shifted", "shift", _percent),
}


class Limits:
    """The range of each feature in which a picture is good.

    Args:
        reference: What the calibration frames say.
        settings: What is tolerated, however alike those are.
    """

    def __init__(self, reference: Reference, settings: HealthSettings) -> None:
        given = [getattr(settings, _MEANINGS[name].tolerance) for name in FEATURES]
        laxity = np.array([_MEANINGS[name].laxity for name in FEATURES])
        tolerated = laxity * np.array([np.inf if value is None else value for value in given])
        self._low = reference.middle - np.maximum(settings.margin * reference.below, tolerated)
        self._high = reference.middle + np.maximum(settings.margin * reference.above, tolerated)
        # No picture is too much like the calibration frames. None has too little noise, for better light or an encoder
        # may take it away, and none too much texture, for that is on the part.
        self._low[FEATURES.index("distance")] = 0.0
        self._low[FEATURES.index("grain")] = -np.inf
        self._high[FEATURES.index("texture")] = np.inf
        width = self._high - self._low
        self._width = np.where(np.isfinite(width) & (width > 0), width, 1.0)

    def findings(self, values: Float64) -> dict[str, str]:
        """Return the reason by kind; of several features that say the same, the one that is furthest off.

        Args:
            values: Those of `FEATURES`.
        """
        excess = self._excess(values)
        reasons: dict[str, str] = {}
        for index in np.argsort(-excess, kind="stable"):
            if not excess[index] > 0:
                break  # what is not known comes last
            meaning = _MEANINGS[FEATURES[index]]
            kind = meaning.below if values[index] < self._low[index] else meaning.above
            reasons.setdefault(kind, self._reason(meaning, values[index], index))
        return reasons

    def is_clearly_wrong(self, values: Float64) -> bool:
        """Tell whether a feature is further outside than by chance: by `CLEARLY` of its range."""
        return bool((self._excess(values) > CLEARLY).any())

    def _excess(self, values: Float64) -> Float64:
        """Return how far outside each feature is, of the width of its range; not a number where it is not known."""
        excess: Float64 = np.maximum(self._low - values, values - self._high) / self._width
        return excess

    def _reason(self, meaning: _Meaning, value: float, index: int) -> str:
        value, low, high = (meaning.shown(float(item)) for item in (value, self._low[index], self._high[index]))
        return f"{meaning.words}: {value:.3g}; good pictures lie in {low:.3g} .. {high:.3g}"
