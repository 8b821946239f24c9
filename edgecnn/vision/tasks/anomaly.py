"""Inspection by a network that knows good parts alone: PASS, or REJECT where one looks otherwise.

Only the map is read, see `edgecnn.vision.surface`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision import surface
from edgecnn.vision.results import Decision, Output


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Decide about a part.

    Raises:
        DataError: If there is no threshold to compare with, or no map of one score a pixel.
    """
    scores, _ = surface.split(outputs)
    if scores is None:
        raise DataError("the bundle's task is 'anomaly', which needs a map (1, H, W, 1): a vector alone is a 'defect'.")
    return surface.inspect(scores, None, manifest)
