"""No task: the outputs speak for themselves."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Decide nothing; read ``Result.outputs``."""
    return Decision()
