"""esp-ppq (the maintained PPQ) for its platform ONNX Runtime: int8, symmetric activations, weights per channel."""

from __future__ import annotations

import numpy as np
import torch
from esp_ppq.api import export_ppq_graph, quantize_onnx_model
from esp_ppq.api.setting import QuantizationSettingFactory
from esp_ppq.core import TargetPlatform
from job import read_job


def main() -> None:
    """Quantise."""
    job = read_job()
    setting = QuantizationSettingFactory.default_setting()
    setting.quantize_activation_setting.calib_algorithm = job.options["calibration"]
    setting.equalization = job.options.get("equalization", False)
    setting.lsq_optimization = job.options.get("lsq", False)
    setting.lsq_optimization_setting.collecting_device = "cpu"
    setting.blockwise_reconstruction = job.options.get("reconstruction", False)
    setting.blockwise_reconstruction_setting.collecting_device = "cpu"
    inputs = [torch.from_numpy(np.array(batch)) for batch in job.batches()]
    graph = quantize_onnx_model(
        onnx_import_file=str(job.model),
        calib_dataloader=inputs,
        calib_steps=len(inputs),
        input_shape=list(inputs[0].shape),
        platform=TargetPlatform.ONNXRUNTIME,
        setting=setting,
        device="cpu",
    )
    export_ppq_graph(graph, TargetPlatform.ONNXRUNTIME, str(job.folder / "model.onnx"))


if __name__ == "__main__":
    main()
