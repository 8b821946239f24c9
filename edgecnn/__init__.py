"""From a folder of images, or any CNN, to an INT8 bundle that is proven on the device that runs it.

The public surface is `load`, the settings of the camera loop, `Verdict` and the error tree. All are imported on first
use, so that ``import edgecnn`` costs next to nothing on a device::

    import edgecnn

    with edgecnn.load("tile-rpi") as model:
        result = model(frame)  # frame: uint8 array of shape (H, W, 3), BGR
        for seen in model.watch("rtsp://cam/1"):
            print(seen.verdict, seen.score, seen.findings)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecnn import errors
    from edgecnn.runtime.health.settings import HealthSettings
    from edgecnn.runtime.loop.loop import LoopSettings
    from edgecnn.runtime.loop.parts import PartSettings
    from edgecnn.runtime.loop.rules import Rules
    from edgecnn.runtime.model import load
    from edgecnn.vision.results import Verdict

__version__ = "0.1.0"

__all__ = ["HealthSettings", "LoopSettings", "PartSettings", "Rules", "Verdict", "__version__", "errors", "load"]

_HOMES = {
    "HealthSettings": "edgecnn.runtime.health.settings",
    "LoopSettings": "edgecnn.runtime.loop.loop",
    "PartSettings": "edgecnn.runtime.loop.parts",
    "Rules": "edgecnn.runtime.loop.rules",
    "Verdict": "edgecnn.vision.results",
    "load": "edgecnn.runtime.model",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "errors":
        return importlib.import_module("edgecnn.errors")
    raise AttributeError(f"module 'edgecnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
