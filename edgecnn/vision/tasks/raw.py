"""No task: the outputs speak for themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output


def decoder(manifest: Manifest) -> Callable[[Sequence[Output]], Decision]:
    """Return `decode` for a bundle."""
    return functools.partial(decode, manifest=manifest)


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Decide nothing; read ``Result.outputs``."""
    return Decision()
