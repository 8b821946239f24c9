"""What every peer's script is called with: ``SCRIPT MODEL INPUTS FOLDER OPTIONS``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """One quantisation.

    Attributes:
        model: The float model, ONNX, one input ``image`` (1, 3, 224, 224).
        inputs: Calibration inputs (images, 3, 224, 224), float32, read from the disk as they are needed.
        folder: Where the quantised model goes, as ``model`` with its format's ending.
        options: The setting's own table in the peer's ``.toml``.
    """

    model: Path
    inputs: Any
    folder: Path
    options: dict[str, Any]

    def batches(self, count: int = 0) -> list[Any]:
        """Return the first ``count`` inputs, all for 0, each with a batch axis; views, not copies."""
        return [self.inputs[index : index + 1] for index in range(count or len(self.inputs))]


def read_job() -> Job:
    """Read the command line."""
    model, inputs, folder, options = sys.argv[1:]
    return Job(Path(model), np.load(inputs, mmap_mode="r"), Path(folder), json.loads(options))
