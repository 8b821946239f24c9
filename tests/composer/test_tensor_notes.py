"""Layers that no grid of 8 bits can hold are named; good networks give no word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from edgecnn.composer import Request, build, open_model
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files
from tests.composer.onnx_files import node

FRAMES = np.random.default_rng(5).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
CHANNELS = onnx_files.CLASSES


def notes(path: Path, folder: Path) -> list[str]:
    source = open_model(str(path))
    report = build(Request(source, source.expects, ("coral",), Frames(FRAMES), "fast"), folder / "bundle")
    return [note for note in report["notes"] if note.startswith(("Conv '", "Softmax '", "Gemm '"))]


def behind(tmp_path: Path, scales: np.ndarray) -> Path:
    """Write a network whose second layer, 'second', multiplies its channels by ``scales``."""
    kernel = np.random.default_rng(1).standard_normal((len(scales), CHANNELS, 1, 1)) * scales[:, None, None, None]
    body = [node("Relu", "conv", "r"), node("Conv", "r weight", "logits", name="second")]
    constants = [numpy_helper.from_array(kernel.astype(np.float32), "weight")]
    return onnx_files.write(tmp_path / "net.onnx", body, output=(1, len(scales), 16, 16), constants=constants)


def test_a_channel_that_dwarfs_all_others_is_named(tmp_path: Path) -> None:
    (note,) = notes(behind(tmp_path, np.asarray([1, 1, 1, 300, 1, 1])), tmp_path)
    assert note.startswith("Conv 'second': channel 3 dwarfs the others: it spans -")
    assert "steps or less to 5 other channel(s)" in note


def test_weights_from_the_smallest_to_the_largest_are_named(tmp_path: Path) -> None:
    (note,) = notes(behind(tmp_path, 10.0 ** np.asarray([-30, -20, -10, 0, 10, 20, 25])), tmp_path)
    assert note.startswith("Conv 'second'")
    assert "channel 6" in note


def test_several_channels_out_of_proportion_are_named_by_their_weights(tmp_path: Path) -> None:
    (note,) = notes(behind(tmp_path, np.asarray([1.0] * 6 + [5000, 5000])), tmp_path)
    assert note.startswith("Conv 'second': its weights span too much for 8 bits: those of channel ")


@pytest.mark.parametrize(
    "scales",
    [[1, 1, 1, 20, 1, 1], [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1e-30, 1e-20, 0], [1], [3, 1, 100, 40]],
    ids=str,
)
def test_dead_channels_and_usual_differences_are_no_word(scales: list[float], tmp_path: Path) -> None:
    assert notes(behind(tmp_path, np.asarray(scales, np.float64)), tmp_path) == []


def softmax_over(tmp_path: Path, classes: int, sharpness: float) -> Path:
    kernel = np.random.default_rng(1).standard_normal((classes, CHANNELS, 1, 1)).astype(np.float32) * sharpness
    body = [node("Relu", "conv", "r"), node("GlobalAveragePool", "r", "m"), node("Conv", "m weight", "s")]
    body += [node("Flatten", "s", "f"), node("Softmax", "f", "logits", axis=1, name="scores")]
    constants = [numpy_helper.from_array(kernel, "weight")]
    return onnx_files.write(tmp_path / "net.onnx", body, output=(1, classes), constants=constants)


def test_a_softmax_whose_probabilities_all_vanish_is_named(tmp_path: Path) -> None:
    (note,) = notes(softmax_over(tmp_path, 1000, 0.01), tmp_path)
    assert note.startswith("Softmax 'scores': all its probabilities lie below 1/512 on the 8 frame(s) looked at")
    assert "the largest is 0.001" in note


@pytest.mark.parametrize(("classes", "sharpness"), [(1000, 3), (100, 0.01)])
def test_a_softmax_that_says_something_is_no_word(classes: int, sharpness: float, tmp_path: Path) -> None:
    assert notes(softmax_over(tmp_path, classes, sharpness), tmp_path) == []
