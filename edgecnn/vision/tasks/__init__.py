"""How outputs are read, one file a task, found by its name.

A task has one function, ``decoder(manifest) -> Decode``: it returns what reads the integers of a frame's outputs by
what the manifest says about them. Both raise `DataError` where something does not fit the task. A task knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from edgecnn import plugins
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output

INSPECTIONS = ("defect", "anomaly")
"""Tasks that decide PASS or REJECT."""

Decode = Callable[[Sequence[Output]], Decision]


def decoder(manifest: Manifest) -> Decode:
    """Return what reads the outputs of a bundle by its task.

    Raises:
        OptionError: If there is no such task; near names are suggested.
        DataError: If the manifest says nothing that the task can read.
        BundleError: If the manifest says what nothing can be made of.
    """
    task = plugins.load("edgecnn.vision.tasks", manifest.task)
    with boundary(BundleError, f"the manifest says what the task '{manifest.task}' cannot use"):
        return cast(Decode, task.decoder(manifest))
