"""Qualcomm AIMET for ONNX: min-max, cross-layer equalisation, sequential MSE or AdaRound; exported as QDQ."""

from __future__ import annotations

from typing import Any

import aimet_onnx
import numpy as np
import onnx
from aimet_onnx.common.quantsim_config.utils import get_path_for_per_channel_config
from aimet_onnx.cross_layer_equalization import equalize_model
from job import read_job

CLAMPS = ("Relu", "Clip")


def quantise_after_clamps(sim: Any) -> None:
    """Do not quantise what a clamp reads; by default AIMET does so behind depthwise convolutions."""
    read = {node.input[0] for node in sim.model.nodes() if node.op_type in CLAMPS}
    for name, quantizer in sim.qc_quantize_op_dict.items():
        # A quantiser writes a tensor of its own, which is what the clamp reads.
        if read & {name, f"{name}_updated"}:
            quantizer.enabled = False


def main() -> None:
    """Quantise."""
    job = read_job()
    inputs: list[dict[str, Any]] = [{"image": np.ascontiguousarray(batch)} for batch in job.batches()]
    model = onnx.load(job.model)
    if job.options.get("cle"):
        equalize_model(model)
    sim = aimet_onnx.QuantizationSimModel(model, config_file=get_path_for_per_channel_config())
    if job.options["after_clamps"]:
        quantise_after_clamps(sim)
    if job.options.get("sequential_mse"):
        aimet_onnx.apply_seq_mse(sim, inputs)
    if iterations := job.options.get("adaround"):
        aimet_onnx.apply_adaround(sim, inputs, iterations)
    sim.compute_encodings(inputs)
    onnx.save(sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True), job.folder / "model.onnx")


if __name__ == "__main__":
    main()
