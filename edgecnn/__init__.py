"""From a folder of images, or any CNN, to an INT8 bundle that is proven on the device that runs it.

The public surface is `load` and the error tree; both are imported on first use, so that ``import edgecnn`` costs
next to nothing on a device::

    import edgecnn

    with edgecnn.load("tile-rpi") as model:
        result = model(frame)  # frame: uint8 array of shape (H, W, 3), BGR
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecnn import errors
    from edgecnn.runtime.model import load

__version__ = "0.1.0"

__all__ = ["__version__", "errors", "load"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name == "load":
        return importlib.import_module("edgecnn.runtime.model").load
    if name == "errors":
        return importlib.import_module("edgecnn.errors")
    raise AttributeError(f"module 'edgecnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
