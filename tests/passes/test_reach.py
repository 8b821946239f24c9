"""What outputs are taken for: logits, probabilities or neither, whatever stands behind the last activation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import edgecnn
from edgecnn.composer import Request, build, open_model
from edgecnn.composer.contract import decides
from edgecnn.composer.stages import check_lowers, prepare
from edgecnn.recipe import load_recipe
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files
from tests.composer.onnx_files import node

MAP, VECTOR = (1, 4, 16, 16), (1, 4)
FRAMES = np.random.default_rng(5).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
CONSTANTS = {
    "half": np.float32(0.5),
    "one": np.float32(1),
    "zero": np.float32(0),
    "levels": np.float32(255),
    "flat": np.asarray([1, 4, 256]),
    "larger": np.asarray([1, 4, 32, 32]),
    "channel": np.asarray([1]),
    "start": np.asarray([0]),
    "spatial": np.asarray([2, 3]),
    "border": np.asarray([0, 0, 1, 1, 0, 0, 1, 1]),
}
SIGMOID = node("Sigmoid", "conv", "p")
MEAN = node("GlobalAveragePool", "conv", "mean")


def decided(path: Path) -> tuple[str, str]:
    """Return the task and the meaning of the one output."""
    source = open_model(str(path))
    request = Request(source, source.expects, ("coral",), Frames([FRAMES[0]]))
    work = prepare(request, [load_recipe("fast")])
    task, outputs = decides(source.expects, check_lowers(work), work.meanings)
    return task, outputs[0].meaning


def network(tmp_path: Path, body: Sequence[onnx.NodeProto], output: Sequence[int]) -> Path:
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()]
    return onnx_files.write(tmp_path / "net.onnx", body, output=output, constants=constants)


PROBABILITIES = {
    "nothing": ([node("Sigmoid", "conv", "logits")], MAP),
    "the layout": ([SIGMOID, node("Transpose", "p", "logits", perm=[0, 2, 3, 1])], (1, 16, 16, 4)),
    "Identity": ([SIGMOID, node("Identity", "p", "logits")], MAP),
    "Dropout": ([SIGMOID, node("Dropout", "p", "logits")], MAP),
    "Resize": (
        [SIGMOID, node("Resize", ["p", "", "", "larger"], "logits", mode="linear")],
        (1, 4, 32, 32),
    ),
    "Slice": ([SIGMOID, node("Slice", "p start channel channel", "logits")], (1, 1, 16, 16)),
    "MaxPool": ([SIGMOID, node("MaxPool", "p", "logits", kernel_shape=[2, 2], strides=[2, 2])], (1, 4, 8, 8)),
    "Pad": ([SIGMOID, node("Pad", "p border", "logits")], (1, 4, 18, 18)),
    "DepthToSpace": ([SIGMOID, node("DepthToSpace", "p", "logits", blocksize=2)], (1, 1, 32, 32)),
    "Concat": (
        [SIGMOID, node("Softmax", "conv", "q", axis=1), node("Concat", "p q", "logits", axis=1)],
        (1, 8, 16, 16),
    ),
    "Clip": ([SIGMOID, node("Clip", "p zero half", "logits")], MAP),
    "a product": ([SIGMOID, node("Softmax", "conv", "q", axis=1), node("Mul", "p q", "logits")], MAP),
    "the complement": ([SIGMOID, node("Sub", "one p", "logits")], MAP),
    "an average": (
        [SIGMOID, node("Softmax", "conv", "q", axis=1), node("Add", "p q", "s"), node("Mul", "s half", "logits")],
        MAP,
    ),
    "hard sigmoid": ([node("HardSigmoid", "conv", "logits", alpha=1 / 6)], MAP),
    "clipped scores": ([node("Clip", "conv zero one", "logits")], MAP),
    "scaled tanh": ([node("Tanh", "conv", "t"), node("Mul", "t half", "h"), node("Add", "h half", "logits")], MAP),
    "Flatten": ([MEAN, node("Sigmoid", "mean", "p"), node("Flatten", "p", "logits")], VECTOR),
    "Squeeze": ([MEAN, node("Softmax", "mean", "p", axis=1), node("Squeeze", "p spatial", "logits")], VECTOR),
    "ReduceMean": ([SIGMOID, node("ReduceMean", "p spatial", "logits", keepdims=0)], VECTOR),
}


@pytest.mark.parametrize("behind", PROBABILITIES)
def test_probabilities_are_known_behind(behind: str, tmp_path: Path) -> None:
    body, output = PROBABILITIES[behind]
    task = "classify" if output == VECTOR else "segment"
    assert decided(network(tmp_path, body, output)) == (task, "probabilities")


LOGITS = {
    "a convolution": [node("Identity", "conv", "logits")],
    "Relu": [node("Relu", "conv", "logits")],
    "a gate": [SIGMOID, node("Mul", "conv p", "logits")],
    "Tanh": [node("Tanh", "conv", "logits")],
    "a sigmoid around zero": [SIGMOID, node("Sub", "p half", "logits")],
    "a residual": [SIGMOID, node("Add", "p conv", "logits")],
}


@pytest.mark.parametrize("behind", LOGITS)
def test_what_may_be_any_number_or_has_two_signs_is_logits(behind: str, tmp_path: Path) -> None:
    assert decided(network(tmp_path, LOGITS[behind], MAP)) == ("segment", "logits")


def test_probabilities_on_another_scale_are_neither(tmp_path: Path) -> None:
    """With a threshold at 0 or at 0.5 every pixel of a mask of 0..255 would be set."""
    body = [SIGMOID, node("Mul", "p levels", "logits")]
    assert decided(network(tmp_path, body, MAP)) == ("raw", "raw")


def test_only_what_can_be_a_mask_is_a_segmentation(tmp_path: Path) -> None:
    body = [SIGMOID, node("Reshape", "p flat", "logits")]
    assert decided(network(tmp_path, body, (1, 4, 256))) == ("raw", "probabilities")
    kernel = np.random.default_rng(0).standard_normal((257, 3, 3, 3)).astype(np.float32)
    body = [node("Sigmoid", "conv", "logits")]
    assert decided(onnx_files.write(tmp_path / "many.onnx", body, kernel=kernel, output=(1, 257, 16, 16)))[0] == "raw"


def _float(path: Path, frame: np.ndarray) -> np.ndarray:
    picture = (frame[None, ..., ::-1] / 255).transpose(0, 3, 1, 2).astype(np.float32)
    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"image": picture})[0])


def _bundle(path: Path, folder: Path) -> Path:
    source = open_model(str(path))
    build(Request(source, source.expects, ("coral",), Frames(FRAMES), "fast"), folder)
    return folder


def test_a_sigmoid_mask_is_that_of_the_float_model(tmp_path: Path) -> None:
    kernel = onnx_files.weight()[:1] / 4
    path = onnx_files.write(
        tmp_path / "net.onnx", [node("Sigmoid", "conv", "logits")], kernel=kernel, output=(1, 1, 16, 16)
    )
    wanted = _float(path, FRAMES[0])[0, 0] > 0.5
    with edgecnn.load(_bundle(path, tmp_path / "bundle"), self_test="off") as model:
        mask = model(FRAMES[0]).decision.mask
    assert 0.1 < wanted.mean() < 0.9
    assert mask is not None
    assert (mask.astype(bool) == wanted).mean() > 0.97


def test_scores_of_a_flattened_sigmoid_are_those_of_the_float_model(tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", PROBABILITIES["Flatten"][0], output=VECTOR)
    wanted = _float(path, FRAMES[0])[0]
    with edgecnn.load(_bundle(path, tmp_path / "bundle"), self_test="off") as model:
        result = model(FRAMES[0])
    assert result.decision.label == str(wanted.argmax())
    assert result.decision.score == pytest.approx(wanted.max(), abs=0.02)
