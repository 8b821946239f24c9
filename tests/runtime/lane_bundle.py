"""A lane model that sees a left line where a picture is blue and a right one where it is red, and such pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgecnn.arrays import write_npz
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.runtime.bundle import Golden, write_bundle
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.model import run_frames
from edgecnn.tensor import QuantParams, TensorSpec

HEIGHT, WIDTH = 96, 160
SIZE = (320, 192)
"""(width, height) of the pictures."""
BLUE, RED = (255, 0, 0), (0, 0, 255)


def lane_graph() -> IntegerGraph:
    """frame (1,96,160,3) -> mean over 2x2 pixels of blue less red, and the reverse -> map (1,48,80,4)."""
    frame = TensorSpec("frame", (1, HEIGHT, WIDTH, 3), "uint8", QuantParams.per_tensor(1 / 255))
    planes = TensorSpec("planes", (1, 3, HEIGHT, WIDTH), "uint8", frame.quant)
    scales = np.full(4, 9 / 4 / 100, np.float32)
    weight = TensorSpec("weight", (4, 3, 2, 2), "int8", QuantParams.per_channel(scales, 0))
    bias = TensorSpec("bias", (4,), "int32", QuantParams.per_channel(scales * np.float32(1 / 255), 0))
    maps = TensorSpec("maps", (1, 4, HEIGHT // 2, WIDTH // 2), "uint8", QuantParams.per_tensor(0.08, 128))
    found = TensorSpec("found", (1, HEIGHT // 2, WIDTH // 2, 4), "uint8", maps.quant)
    sees = np.zeros((4, 3), np.int8)
    sees[1], sees[3] = (100, 0, -100), (-100, 0, 100)
    constants: dict[str, Array] = {
        "weight": np.repeat(sees[..., None], 4, axis=2).reshape(4, 3, 2, 2),
        "bias": np.round(np.array([-9, -3, -9, -3]) / (scales / 255)).astype(np.int32),
    }
    conv = {"strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    nodes = (
        IntegerNode("to_nchw", "Transpose", ("frame",), "planes", {"perm": (0, 3, 1, 2)}),
        IntegerNode("conv", "Conv", ("planes", "weight", "bias"), "maps", conv),
        IntegerNode("to_nhwc", "Transpose", ("maps",), "found", {"perm": (0, 2, 3, 1)}),
    )
    tensors = {spec.name: spec for spec in (frame, planes, weight, bias, maps, found)}
    return IntegerGraph("lanes", ("frame",), ("found",), nodes, tensors, constants)


def lane_manifest() -> Manifest:
    """The contract of this model."""
    graph = lane_graph()
    return Manifest(
        name="lanes",
        task="lane",
        input=InputContract(graph.spec("frame"), "bgr"),
        outputs=(OutputContract(graph.spec("found"), "NHWC", "logits"),),
        engines=(EngineEntry("reference", "any", ("graph.npz",)),),
        provenance=Provenance("0.1.0", "lanes", "0" * 64, "fast", "1" * 64, 3, packages={"numpy": np.__version__}),
        labels=("left dashed", "left solid", "right dashed", "right solid"),
        decoding={"mark_threshold": 0.5},
    )


def write_lane_bundle(folder: Path) -> Path:
    """Write the bundle and return its path."""
    graph, made = lane_graph(), folder / "made"
    made.mkdir()
    frames = np.stack([cv2.resize(road(shift), (WIDTH, HEIGHT)) for shift in (-10, 0, 10)])
    graph.save(made / "graph.npz")
    write_npz(made / "golden.npz", Golden(frames, tuple(run_frames(ReferenceEngine(graph), frames))).arrays())
    write_bundle(folder / "lanes", lane_manifest(), {path.name: path.read_bytes() for path in made.iterdir()})
    return folder / "lanes"


def lines(shift: float) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """Return the near and far end of both lines, (x, y), the lane ``shift`` pixels to the right at its near end."""
    middle, bottom, top = SIZE[0] / 2, float(SIZE[1]), SIZE[1] * 0.4
    return {
        "left": ((middle - 100 + shift, bottom), (middle - 15 + 0.15 * shift, top)),
        "right": ((middle + 100 + shift, bottom), (middle + 15 + 0.15 * shift, top)),
    }


def road(shift: float = 0.0, sides: tuple[str, ...] = ("left", "right")) -> np.ndarray:
    """Return a picture of a straight lane, uint8 (192, 320, 3)."""
    picture = np.random.default_rng(round(100 + shift)).integers(90, 110, (SIZE[1], SIZE[0], 3), np.uint8)
    for side, (near, far) in lines(shift).items():
        if side in sides:
            ends = [tuple(round(16 * (value - 0.5)) for value in end) for end in (near, far)]
            cv2.line(picture, ends[0], ends[1], BLUE if side == "left" else RED, 7, cv2.LINE_AA, 4)
    return picture


def label(shift: float = 0.0, sides: tuple[str, ...] = ("left", "right")) -> np.ndarray:
    """Return the label mask of such a picture, uint8 (192, 320): 2 left solid, 4 right solid."""
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for side, (near, far) in lines(shift).items():
        if side in sides:
            ends = [tuple(round(16 * (value - 0.5)) for value in end) for end in (near, far)]
            cv2.line(mask, ends[0], ends[1], 2 if side == "left" else 4, 7, cv2.LINE_8, 4)
    return mask
