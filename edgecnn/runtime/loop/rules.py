"""What decides beside the bundle: how pictures are judged, how frames become parts, and how lanes are followed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.loop.lanes import LaneSettings
from edgecnn.runtime.loop.parts import PartSettings

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Rules:
    """What decides beside the bundle.

    Attributes:
        health: What is looked for in the picture.
        parts: How frames become parts.
        empty: The empty place without a part, uint8 (H, W, 3) of any size, for ``parts.mode`` ``"gap"``.
        lanes: How the lines of a lane are followed, for bundles with this task.
    """

    health: HealthSettings = field(default_factory=HealthSettings)
    parts: PartSettings = field(default_factory=PartSettings)
    empty: Image | None = field(default=None, repr=False)
    lanes: LaneSettings = field(default_factory=LaneSettings)

    def __post_init__(self) -> None:
        if (self.parts.mode == "gap") != (self.empty is not None):
            raise OptionError("parts 'gap' and a picture of the empty place go together: give both or neither.")
