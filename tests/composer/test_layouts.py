"""Pictures and outputs in whatever layout and rank a model has them: export gives the float model's values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgecnn
from edgecnn.composer import Request, build, open_model
from edgecnn.composer.evaluate import float_model
from edgecnn.report.document import Report
from edgecnn.runtime.bundle import Bundle
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files
from tests.composer.onnx_files import node

SIZE, CHANNELS = (12, 16), 4
FRAMES = np.random.default_rng(5).integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
CONSTANTS = {
    "factors": np.linspace(0.5, 2, CHANNELS, dtype=np.float32),
    "shifts": np.linspace(-1, 1, CHANNELS, dtype=np.float32),
    "rows": np.asarray([1, CHANNELS, 192]),
    "anchors": np.asarray([1, 2, 2, 12, 16]),
    "blocks": np.asarray([1, 2, 2, 3, 4, 16]),
    "batch": np.asarray([0]),
    "spatial": np.asarray([2, 3]),
    "flat": np.asarray([CHANNELS]),
    "all": np.asarray([0, 1, 2, 3]),
    "low": np.asarray([0]),
    "high": np.asarray([2]),
    "last": np.asarray([3]),
}
TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
TURNED, LAST = node("Transpose", "conv", "t", perm=TO_NHWC), node("Transpose", "o", "y", perm=TO_NHWC)
JOINED = node("Concat", "t u", "y", axis=3)
HALVED = node("MaxPool", "n", "o", kernel_shape=[2, 2], strides=[2, 2])


def write(path: Path, body: Sequence[onnx.NodeProto], shape: Sequence[int], nhwc: bool, kind: int) -> Path:
    """Write ``image -> Conv -> conv -> body -> y``; ``nhwc`` tells the layout of the input."""
    entry = [node("Transpose", "image", "nchw", perm=TO_NCHW)] if nhwc else []
    conv = node("Conv", ["nchw" if nhwc else "image", "kernel"], "conv", pads=[1, 1, 1, 1])
    picture = (1, *SIZE, 3) if nhwc else (1, 3, *SIZE)
    constants = {"kernel": onnx_files.weight(), **CONSTANTS}
    graph = helper.make_graph(
        [*entry, conv, *body],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    )
    return path


def float_values(path: Path, frame: np.ndarray, nhwc: bool) -> np.ndarray:
    picture = (frame[None, ..., ::-1] / 255).astype(np.float32)
    feed = picture if nhwc else picture.transpose(TO_NCHW)
    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"image": feed})[0])


def export(path: Path, folder: Path) -> Report:
    """Export with pictures to evaluate on, so that every stage has to know the layouts."""
    (folder / "eval").mkdir()
    for index, frame in enumerate(FRAMES[:3]):
        cv2.imwrite(str(folder / "eval" / f"{index}.png"), frame)
    source = open_model(str(path))
    request = Request(source, source.expects, ("coral",), Frames(FRAMES), "fast", folder / "eval")
    return build(request, folder / "bundle")


# body, shape of the output in the model, shape and layout in the bundle, how the model's output becomes the bundle's
Case = tuple[Sequence[onnx.NodeProto], tuple[int, ...], tuple[int, ...], str, Sequence[int]]
MAP = (1, *SIZE, CHANNELS)
CASES: dict[str, Case] = {
    "NCHW": ([node("Identity", "conv", "y")], (1, CHANNELS, *SIZE), MAP, "NHWC", TO_NHWC),
    "NHWC": ([node("Transpose", "conv", "y", perm=TO_NHWC)], MAP, MAP, "NHWC", [0, 1, 2, 3]),
    "NHWC, arithmetic behind": (
        [TURNED, node("Mul", "t factors", "m"), node("Add", "m shifts", "y")],
        MAP,
        MAP,
        "NHWC",
        [0, 1, 2, 3],
    ),
    "NHWC, softmax behind": ([TURNED, node("Softmax", "t", "y", axis=3)], MAP, MAP, "NHWC", [0, 1, 2, 3]),
    "NHWC, two joined": (
        [TURNED, node("Tanh", "conv", "p"), node("Transpose", "p", "u", perm=TO_NHWC), JOINED],
        (1, *SIZE, 8),
        (1, *SIZE, 8),
        "NHWC",
        [0, 1, 2, 3],
    ),
    "NHWC, a part": (
        [TURNED, node("Slice", "t low high last", "y")],
        (1, *SIZE, 2),
        (1, *SIZE, 2),
        "NHWC",
        [0, 1, 2, 3],
    ),
    "NHWC, a mean": (
        [TURNED, node("ReduceMean", "t last", "y")],
        (1, *SIZE, 1),
        (1, *SIZE, 1),
        "NHWC",
        [0, 1, 2, 3],
    ),
    "NHWC, in between": (
        [TURNED, node("Mul", "t factors", "m"), node("Transpose", "m", "n", perm=TO_NCHW), HALVED, LAST],
        (1, 6, 8, CHANNELS),
        (1, 6, 8, CHANNELS),
        "NHWC",
        [0, 1, 2, 3],
    ),
    "rank 2": (
        [node("ReduceMean", "conv spatial", "y", keepdims=0)],
        (1, CHANNELS),
        (1, CHANNELS),
        "NC",
        [0, 1],
    ),
    "rank 3": ([node("Reshape", "conv rows", "y")], (1, CHANNELS, 192), (1, CHANNELS, 192), "NAC", [0, 1, 2]),
    "rank 3, no batch": ([node("Squeeze", "conv batch", "y")], (CHANNELS, *SIZE), (CHANNELS, *SIZE), "ABD", [0, 1, 2]),
    "rank 5": ([node("Reshape", "conv anchors", "y")], (1, 2, 2, 12, 16), (1, 2, 2, 12, 16), "NABDE", [0, 1, 2, 3, 4]),
    "rank 6": (
        [node("Reshape", "conv blocks", "y")],
        (1, 2, 2, 3, 4, 16),
        (1, 2, 2, 3, 4, 16),
        "NABDEF",
        [0, 1, 2, 3, 4, 5],
    ),
    "rank 1": (
        [node("ReduceMean", "conv spatial", "m", keepdims=0), node("Reshape", "m flat", "y")],
        (CHANNELS,),
        (CHANNELS,),
        "A",
        [0],
    ),
    "rank 0": ([node("ReduceMean", "conv all", "y", keepdims=0)], (), (1,), "N", []),
}


@pytest.mark.parametrize("nhwc", [False, True], ids=["from NCHW", "from NHWC"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_float_model(name: str, nhwc: bool, tmp_path: Path) -> None:
    body, shape, left, layout, order = CASES[name]
    path = write(tmp_path / "net.onnx", body, shape, nhwc, TensorProto.FLOAT)
    report = export(path, tmp_path)
    assert report["frame"]["border_effect"] < 1e-4
    assert report["accuracy"]["sqnr_db"] is None or report["accuracy"]["sqnr_db"] > 25
    with edgecnn.load(tmp_path / "bundle", self_test="decisions") as model:
        (output,) = model(FRAMES[0]).outputs
    assert (output.integers.shape, output.contract.layout) == (left, layout)
    wanted = float_values(path, FRAMES[0], nhwc).transpose(order).reshape(left)
    assert np.abs(output.real - wanted).max() <= 0.03 * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.parametrize("nhwc", [False, True], ids=["from NCHW", "from NHWC"])
@pytest.mark.parametrize("turned", [False, True], ids=["to NCHW", "to NHWC"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_indices_are_those_of_the_float_model(nhwc: bool, turned: bool, keepdims: int, tmp_path: Path) -> None:
    body = [TURNED, node("ArgMax", "t", "y", axis=3, keepdims=keepdims)]
    shape = (1, *SIZE, 1) if keepdims else (1, *SIZE)
    if not turned:
        body = [node("ArgMax", "conv", "y", axis=1, keepdims=keepdims)]
        shape = (1, 1, *SIZE) if keepdims else (1, *SIZE)
    path = write(tmp_path / "net.onnx", body, shape, nhwc, TensorProto.INT64)
    export(path, tmp_path)
    with edgecnn.load(tmp_path / "bundle", self_test="exact") as model:
        (output,) = model(FRAMES[0]).outputs
    assert output.integers.shape == ((1, *SIZE, 1) if keepdims else (1, *SIZE))
    assert (output.integers.squeeze() == float_values(path, FRAMES[0], nhwc).squeeze()).mean() > 0.95


@pytest.mark.parametrize("name", ["NHWC", "NCHW"])
def test_the_float_model_is_compared_in_the_layout_of_its_bundle(name: str, tmp_path: Path) -> None:
    body, shape, *_ = CASES[name]
    path = write(tmp_path / "net.onnx", body, shape, True, TensorProto.FLOAT)
    export(path, tmp_path)
    with Bundle.open(tmp_path / "bundle") as bundle:
        run = float_model(open_model(str(path)), bundle.manifest)
    wanted = float_values(path, FRAMES[0], True).transpose(CASES[name][4])
    assert np.allclose(run(FRAMES[0])[0], wanted, atol=1e-5)
