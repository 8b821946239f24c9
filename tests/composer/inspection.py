"""An inspection made by hand: a network of a map and a vector, and parts with label masks to judge it on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecnn.composer import open_model
from edgecnn.composer.request import Request
from edgecnn.composer.stages import build
from edgecnn.vision.frames import Frames

LABELS = ("good", "dark", "bright")
SIZE = 64
_OF_CLASSES = ("kind", "usual")


def network(path: Path, has_classes: bool = True) -> Path:
    """Write a network for pictures 64 x 64 that marks what is darker than 0.35 or brighter than 0.65.

    It returns ``mask`` (1, 1, 32, 32) and, with ``has_classes``, ``classes`` (1, 3): good, dark, bright.
    """
    constants = {
        "sides": np.repeat(np.float32([-1, 1]), 3).reshape(2, 3, 1, 1) / 3,
        "middle": np.float32([0.35, -0.65]),
        "either": np.full((1, 2, 1, 1), 80, np.float32),
        "rare": np.full(1, -4, np.float32),
        "kind": np.float32([[-60, -60], [40, 0], [0, 40]]).reshape(3, 2, 1, 1),
        "usual": np.float32([5, 0, 0]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "sides", "middle"], ["contrast"], "contrast"),
        helper.make_node("Relu", ["contrast"], ["found"], "found"),
        helper.make_node("MaxPool", ["found"], ["smaller"], "smaller", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["smaller", "either", "rare"], ["mask"], "mask"),
    ]
    outputs = [helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, (1, 1, SIZE // 2, SIZE // 2))]
    if has_classes:
        nodes += [
            helper.make_node("MaxPool", ["smaller"], ["most"], "most", kernel_shape=[32, 32]),
            helper.make_node("Conv", ["most", *_OF_CLASSES], ["kinds"], "kinds"),
            helper.make_node("Flatten", ["kinds"], ["classes"], "classes"),
        ]
        outputs.append(helper.make_tensor_value_info("classes", onnx.TensorProto.FLOAT, (1, len(LABELS))))
    used = [name for name in constants if has_classes or name not in _OF_CLASSES]
    inputs = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, SIZE, SIZE))]
    held = [numpy_helper.from_array(constants[name], name) for name in used]
    graph = helper.make_graph(nodes, "spots", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def part(index: int, kind: str, shape: tuple[int, int] = (96, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) with a spot, faint in every fourth, and its label mask (H, W) of 0 and 255."""
    rng = np.random.default_rng(index)
    picture, mask = rng.normal(128, 12, shape), np.zeros(shape, np.uint8)
    centre = [int(rng.integers(20, side - 20)) for side in shape[::-1]]
    cv2.ellipse(mask, centre, [int(item) for item in rng.integers(5, 16, 2)], 30.0, 0.0, 360.0, 255, cv2.FILLED)
    depth = {"good": 50 if index % 8 == 0 else 0}.get(kind, 30 if index % 4 == 0 else 75)
    picture += np.where(mask > 0, depth if kind == "bright" else -depth, 0)
    mask[:] = 0 if kind == "good" else mask
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2), mask


def parts(folder: Path, count: int = 24, kinds: tuple[str, ...] = LABELS) -> Path:
    """Write parts as ``images/<kind>/n.png`` and their masks as ``masks/<kind>/n.png``; return ``folder``."""
    for index in range(count):
        kind = kinds[index % len(kinds)]
        for root, picture in zip(("images", "masks"), part(index, kind), strict=True):
            if root == "images" or kind != "good":
                (folder / root / kind).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / root / kind / f"{index:03d}.png"), picture)
    return folder


def bundle(folder: Path, model: Path, task: str = "defect", evaluation: Path | None = None) -> Path:
    """Export the network for the Raspberry Pi."""
    source = open_model(str(model))
    labels = LABELS if task == "defect" else ("good", "anomaly")
    decoding = {"threshold": 0.5, "pixel_threshold": 0.5, "peak_pixels": 4}
    expects = replace(source.expects, task=task, labels=labels, decoding=decoding)
    frames = Frames([part(index, LABELS[index % 3], (SIZE, SIZE))[0] for index in range(100, 112)])
    build(Request(source, expects, ("rpi",), frames, "fast", evaluation), folder)
    return folder
