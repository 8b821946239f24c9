"""Model + target + recipe + pictures -> bundle: the only place that composes the desk half.

::

    source    what MODEL stands for, imported       evaluate  INT8 beside the float model
    request   what is asked for                     contract  the manifest
    stages    import .. proof, in order             reporting the report
"""

from __future__ import annotations

from edgecnn.composer.request import Request
from edgecnn.composer.source import Expectation, Source, open_model
from edgecnn.composer.stages import build

__all__ = ["Expectation", "Request", "Source", "build", "open_model"]
