"""ONNX Runtime ``quantize_static``: QDQ, uint8 activations, int8 weights per channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from job import read_job
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    """Hands the calibration inputs over, one by one."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input, None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {"image": np.ascontiguousarray(batch)}


def main() -> None:
    """Quantise."""
    job = read_job()
    prepared = job.folder / "prepared.onnx"
    quant_pre_process(str(job.model), str(prepared))
    quantize_static(
        str(prepared),
        str(job.folder / "model.onnx"),
        Reader(job.batches(job.options.get("images", 0))),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[job.options["method"]],
    )


if __name__ == "__main__":
    main()
