"""NNCF ``quantize``, on an OpenVINO model or on an ONNX model."""

from __future__ import annotations

from typing import Any

import nncf
import numpy as np
from job import Job, read_job


def quantise(job: Job, model: Any, name: str) -> Any:
    """Return the quantised model; ``name`` is the input's."""
    batches = [{name: np.ascontiguousarray(batch)} for batch in job.batches()]
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset[job.options.get("preset", "PERFORMANCE")],
        subset_size=len(batches),
        fast_bias_correction=job.options["fast_bias_correction"],
    )


def main() -> None:
    """Quantise."""
    job = read_job()
    if job.options["model"] == "onnx":
        import onnx

        onnx.save(quantise(job, onnx.load(job.model), "image"), job.folder / "model.onnx")
        return
    import openvino as ov

    quantised = quantise(job, ov.convert_model(job.model), "image")
    ov.save_model(quantised, job.folder / "model.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()
