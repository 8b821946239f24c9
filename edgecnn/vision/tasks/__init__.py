"""How outputs are read, one file a task, found by its name.

A task has one function, ``decoder(manifest) -> Decode``: it returns what reads the integers of a frame's outputs by
what the manifest says about them. Both raise `DataError` where something does not fit the task. A task knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from edgecnn import plugins
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
    """
    return cast(Decode, plugins.load("edgecnn.vision.tasks", manifest.task).decoder(manifest))
