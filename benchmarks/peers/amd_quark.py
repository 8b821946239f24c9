"""AMD Quark for ONNX: one of its ready configurations, made per-channel."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from job import read_job
from onnxruntime.quantization import CalibrationDataReader


class Reader(CalibrationDataReader):
    """Hands the calibration inputs over, one by one, as often as asked."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches
        self.rewind()

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input, None at the end."""
        batch = next(self.left, None)
        return None if batch is None else {"image": np.ascontiguousarray(batch)}

    def rewind(self) -> None:
        """Begin again."""
        self.left = iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def main() -> None:
    """Quantise."""
    # Imported here: it starts worker processes, which import this module again.
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config import Config, get_default_config

    job = read_job()
    settings = copy.deepcopy(get_default_config(job.options["configuration"]))
    settings.per_channel = True
    settings.include_cle = job.options["cle"]
    quantizer = ModelQuantizer(Config(global_quant_config=settings))
    quantizer.quantize_model(str(job.model), str(job.folder / "model.onnx"), Reader(job.batches()))


if __name__ == "__main__":
    main()
