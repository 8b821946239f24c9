"""How outputs are read, one file a task, found by its name.

A task has one function, ``decode(outputs, manifest) -> Decision``: it reads the integers of the outputs by what the
manifest says about them, and raises `DataError` where they do not fit the task. A task knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from edgecnn import plugins
from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output

INSPECTIONS = ("defect", "anomaly")
"""Tasks that decide PASS or REJECT."""

Decoder = Callable[[Sequence[Output], Manifest], Decision]


def decoder(task: str) -> Decoder:
    """Return the decode function of the task called ``task``.

    Raises:
        OptionError: If there is no such task; near names are suggested.
    """
    return cast(Decoder, plugins.load("edgecnn.vision.tasks", task).decode)
