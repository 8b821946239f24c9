"""What is looked for in pictures, and how strictly."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from edgecnn.errors import OptionError


@dataclass(frozen=True)
class HealthSettings:
    """What is looked for, and how strictly. A tolerance or time of 0 is as strict as can be, None switches it off.

    The limits themselves come from the calibration frames; a tolerance says what is accepted however alike those were.

    Attributes:
        black: Whether black pictures are looked for.
        saturated: Whether white pictures are looked for.
        size: Whether frames of another aspect ratio, number of channels or, for a moment, resolution are looked for.
        tiny: Whether frames are looked for that are much smaller than the calibration frames, or than the model's
            picture where nothing is known of those: enlarged, they hold nothing that a model could find.
        frozen_seconds: How long a picture may stay the same, None to switch it off. A camera's noise changes every
            picture; strongly compressed video of a belt that stands still, and drawn pictures, may not change.
        detail: Tolerated change of sharpness and noise, of 1.
        shift: Tolerated movement of the camera, of the picture's width and height.
        likeness: Tolerated distance from the calibration frames; a picture that has nothing to do with them is at 0.7.
        light: Tolerated change of brightness and colour, of 1.
        margin: Factor on what the calibration frames say. Less than 1 is stricter, more is laxer.
        persist_seconds: Sharpness, movement, likeness or light must be wrong in most looks of so long, over two thirds
            of it, until the picture is invalid; with 0 each look decides.
        check_seconds: Pause between two thorough checks; black and white are looked for in every frame.
    """

    black: bool = True
    saturated: bool = True
    size: bool = True
    tiny: bool = True
    frozen_seconds: float | None = 0.5
    detail: float | None = 0.25
    shift: float | None = 0.02
    likeness: float | None = 0.2
    light: float | None = 0.25
    margin: float = 1.0
    persist_seconds: float = 0.3
    check_seconds: float = 0.06

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"health: '{item.name}' must be a number of 0 or more, got {value!r}.")
