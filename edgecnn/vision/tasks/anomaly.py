"""Inspection by a network that knows good parts alone: PASS, or REJECT where one looks otherwise.

Only the map is read, see `edgecnn.vision.surface`.
"""

from __future__ import annotations

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision import surface
from edgecnn.vision.tasks import Decode


def decoder(manifest: Manifest) -> Decode:
    """Return what decides about a part.

    Raises:
        DataError: If there is no threshold to compare with, or no map of one score a pixel.
    """
    if surface.find(manifest.outputs)[0] is None:
        raise DataError("the bundle's task is 'anomaly', which needs a map (1, H, W, 1): a vector alone is a 'defect'.")
    return surface.Inspector(manifest, kinds=False)
