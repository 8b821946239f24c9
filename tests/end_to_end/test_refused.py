"""What a target cannot express is said for all nodes at once, before a picture is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgecnn.cli.app import main
from tests.composer import onnx_files


def odd_resizes(path: Path) -> Path:
    """Write a network with two nearest Resizes that sample where TFLite does not."""
    body = []
    value = "conv"
    for index, size in enumerate((21, 37)):
        sizes = numpy_helper.from_array(np.asarray([1, onnx_files.CLASSES, size, size], np.int64))
        body.append(helper.make_node("Constant", [], [f"sizes{index}"], value=sizes))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}
        inputs = [value, "", "", f"sizes{index}"]
        value = f"resized{index}"
        body.append(helper.make_node("Resize", inputs, [value], f"odd{index}", **attributes))
    return onnx_files.write(path, body, end=value)


def test_all_nodes_are_named_before_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, pictures, output = odd_resizes(tmp_path / "net.onnx"), tmp_path / "pictures.npy", tmp_path / "out"
    np.save(pictures, np.zeros((1, 16, 16, 5), np.uint8))  # five channels: reading it would be another error
    code = main(["export", str(model), "-t", "rpi", "-t", "coral", "--calibrate", str(pictures), "-o", str(output)])
    said = capsys.readouterr().err
    assert code == 3
    assert "2 node(s) cannot be lowered for target 'coral'" in said
    assert "odd0" in said
    assert "odd1" in said
    assert "half_pixel with round_prefer_ceil" in said
    assert not output.exists()


def test_a_target_that_can_express_it_takes_the_same_network(tmp_path: Path) -> None:
    model, pictures, output = odd_resizes(tmp_path / "net.onnx"), tmp_path / "pictures.npy", tmp_path / "out"
    np.save(pictures, np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8))
    arguments = ["export", str(model), "-t", "rpi", "-t", "intel", "--calibrate", str(pictures), "-o", str(output)]
    assert main(arguments) == 0
    assert main(["verify", str(output), "--per-op"]) == 0
