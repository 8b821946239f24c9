"""TensorFlow Lite's converter, full integer, on what onnx2tf makes of the ONNX model: the way most converters go."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx2tf
import onnx2tf.onnx2tf as converter
from job import read_job


def main() -> None:
    """Quantise."""
    job = read_job()
    # It calls the model simplifier of its own environment as a program.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inputs = job.folder / "inputs.npy"
    np.save(inputs, np.ascontiguousarray(job.inputs.transpose(0, 2, 3, 1)))
    nothing, unit = np.zeros((1, 1, 1, 3), np.float32), np.ones((1, 1, 1, 3), np.float32)
    # It checks its own work on sample pictures (20, 128, 128, 3) in 0..1, which it would download.
    converter.download_test_image_data = lambda: np.load(inputs, mmap_mode="r")[:20, :128, :128] / 2 + 0.5
    onnx2tf.convert(
        input_onnx_file_path=str(job.model),
        output_folder_path=str(job.folder / "saved"),
        output_integer_quantized_tflite=True,
        quant_type="per-channel",
        custom_input_op_name_np_data_path=[["image", str(inputs), nothing, unit]],
        input_quant_dtype="int8",
        output_quant_dtype="int8",
        non_verbose=True,
    )
    (found,) = (job.folder / "saved").glob("*_full_integer_quant.tflite")
    shutil.copy(found, job.folder / "model.tflite")


if __name__ == "__main__":
    main()
