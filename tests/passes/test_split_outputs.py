"""Scores that are joined to boxes leave the network on a grid of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgecnn
from edgecnn.composer import Request, build, open_model
from edgecnn.vision.frames import Frames

FRAMES = np.random.default_rng(5).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
Nodes = list[onnx.NodeProto]


def node(op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], output, **attributes)


HEAD: Nodes = [
    node("Conv", ["image", "wide"], "maps", pads=[1, 1, 1, 1]),
    node("Reshape", ["maps", "flat"], "rows"),
    node("Slice", ["rows", "zero", "four", "axis"], "four_rows"),
    node("Slice", ["rows", "four", "seven", "axis"], "three_rows"),
    node("Sigmoid", ["three_rows"], "scores"),
    node("Sigmoid", ["four_rows"], "unit"),
    node("Mul", ["unit", "side"], "boxes"),
]
ENDS: dict[str, tuple[Nodes, tuple[int, ...], list[tuple[int, ...]]]] = {
    "boxes and scores": ([node("Concat", ["boxes", "scores"], "y", axis=1)], (1, 7, 256), [(1, 4, 256), (1, 3, 256)]),
    "scores first": ([node("Concat", ["scores", "boxes"], "y", axis=-2)], (1, 7, 256), [(1, 3, 256), (1, 4, 256)]),
    "transposed": (
        [node("Concat", ["boxes", "scores"], "z", axis=1), node("Transpose", ["z"], "y", perm=[0, 2, 1])],
        (1, 256, 7),
        [(1, 256, 4), (1, 256, 3)],
    ),
    "scores on both sides": (
        [node("Concat", ["scores", "boxes", "scores", "unit"], "y", axis=1)],
        (1, 14, 256),
        [(1, 3, 256), (1, 4, 256), (1, 7, 256)],
    ),
    "along anchors": (
        [
            node("Slice", ["scores", "zero", "one", "axis"], "some"),
            node("Slice", ["boxes", "zero", "one", "axis"], "others"),
            node("Concat", ["some", "others"], "y", axis=2),
        ],
        (1, 1, 512),
        [(1, 1, 256), (1, 1, 256)],
    ),
}
WHOLE: dict[str, tuple[Nodes, tuple[int, ...]]] = {
    "scores alone": ([node("Concat", ["scores", "unit"], "y", axis=1)], (1, 7, 256)),
    "boxes alone": ([node("Concat", ["boxes", "four_rows"], "y", axis=1)], (1, 8, 256)),
    "no Concat": ([node("Mul", ["unit", "side"], "y")], (1, 4, 256)),
}


def write(path: Path, body: Nodes, shape: tuple[int, ...]) -> Path:
    constants = {
        "wide": np.random.default_rng(1).standard_normal((7, 3, 3, 3)).astype(np.float32),
        "flat": np.asarray([1, 7, 256]),
        "zero": np.asarray([0]),
        "one": np.asarray([1]),
        "four": np.asarray([4]),
        "seven": np.asarray([7]),
        "axis": np.asarray([1]),
        "side": np.float32(320),
    }
    inputs = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, 16, 16))]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph([*HEAD, *body], "head", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def made(folder: Path, body: Nodes, shape: tuple[int, ...]) -> tuple[edgecnn.Model, list[float | None], list[str]]:
    source = open_model(str(write(folder / "head.onnx", body, shape)))
    request = Request(source, source.expects, ("rpi", "coral"), Frames(FRAMES), "fast")
    report = build(request, folder / "bundle")
    assert {item["status"] for item in report["engines"]} == {"exact"}
    outputs = report["fidelity"]["outputs"]
    return edgecnn.load(folder / "bundle"), [item["sqnr_db"] for item in outputs], report["notes"]


@pytest.mark.parametrize("name", ENDS)
def test_scores_keep_their_own_grid(tmp_path: Path, name: str) -> None:
    body, whole, parts = ENDS[name]
    model, ratios, notes = made(tmp_path, body, whole)
    with model:
        assert [output.tensor.shape for output in model.manifest.outputs] == parts
        assert [output.tensor.name for output in model.manifest.outputs] == [f"y/{i}" for i in range(len(parts))]
        assert all(ratio is not None and ratio >= 30 for ratio in ratios)
        result = model(FRAMES[0])
    assert len(result.outputs) == len(parts)
    assert not [note for note in notes if "WARNING" in note]


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_of_one_kind_stays_whole(tmp_path: Path, name: str) -> None:
    body, whole = WHOLE[name]
    model, _, _ = made(tmp_path, body, whole)
    with model:
        assert [output.tensor.shape for output in model.manifest.outputs] == [whole]
        assert model.manifest.outputs[0].tensor.name == "y"
