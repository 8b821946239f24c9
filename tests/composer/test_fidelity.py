"""INT8 beside float in every export: what has collapsed is named, what has not is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgecnn.composer import Request, build, open_model
from edgecnn.composer.fidelity import SMALLEST_SWING, _Compared, warnings
from edgecnn.report.document import Report
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files

RNG = np.random.default_rng(3)


def exported(folder: Path, body: list, output: tuple[int, ...], count: int = 12, **constants: np.ndarray) -> Report:
    path = onnx_files.write(folder / "net.onnx", body, output=output)
    import onnx

    model = onnx.load(path)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, path)
    source = open_model(str(path))
    frames = RNG.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    request = Request(source, replace(source.expects, task="raw"), ("rpi",), Frames(frames), "fast", overwrite=True)
    return build(request, folder / "bundle")


def test_every_export_says_how_near_it_is_to_float(tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["conv"], ["logits"], "relu")]
    report = exported(tmp_path, body, (1, 4, 16, 16))
    found = report["fidelity"]
    assert found["frames"] == 4
    ((name, ratio, collapsed),) = [(item["output"], item["sqnr_db"], item["collapsed"]) for item in found["outputs"]]
    assert name == "logits"
    assert ratio is not None
    assert 30 < ratio < 60
    assert collapsed == ""
    assert not [note for note in report["notes"] if "WARNING" in note]
    assert "held-out" not in (tmp_path / "bundle" / "report.html").read_text()
    assert "INT8 beside float, in the calibration pictures" in (tmp_path / "bundle" / "report.html").read_text()


def test_a_channel_that_shares_a_grid_with_a_thousand_times_larger_ones_is_named(tmp_path: Path) -> None:
    body = [helper.make_node("Mul", ["conv", "scale"], ["logits"], "mul")]
    scale = np.asarray([1000, 1000, 0.5, 1000], np.float32).reshape(1, 4, 1, 1)
    report = exported(tmp_path, body, (1, 4, 16, 16), scale=scale)
    (item,) = report["fidelity"]["outputs"]
    assert item["sqnr_db"] is not None
    assert item["sqnr_db"] > 30
    assert item["collapsed"] == "1 of 4 channels along axis 3 are lost: 2"
    (note,) = [note for note in report["notes"] if note.startswith("WARNING")]
    assert "output 'logits' has collapsed in INT8: 1 of 4 channels along axis 3 are lost: 2" in note


def compared(*pairs: tuple[np.ndarray, np.ndarray]) -> str:
    item = _Compared("y")
    for real, got in pairs:
        item.add(real, got)
    return item.section()["collapsed"]


def test_a_vector_that_says_nothing_any_more() -> None:
    real = RNG.standard_normal((1, 10))
    assert compared((real, np.zeros((1, 10)))) == "its signal-to-noise ratio is 0.0 dB"
    assert compared((real, real + 0.01)) == ""


def test_what_hardly_varies_is_not_called_lost() -> None:
    real = np.concatenate([RNG.standard_normal((1, 30, 2)), np.full((1, 30, 1), SMALLEST_SWING / 2)], axis=2)
    real[0, 0, 2] = 0
    got = real.copy()
    got[..., 2] = 0
    assert compared((real, got)) == ""


def test_scores_among_boxes_along_either_axis() -> None:
    boxes, scores = RNG.uniform(0, 320, (1, 50, 4)), RNG.uniform(0, 1, (1, 50, 3))
    real = np.concatenate([boxes, scores], axis=2)
    got = np.rint(real / 1.25) * 1.25
    assert compared((real, got), (real, got)) == "3 of 7 channels along axis 2 are lost: 4, 5, 6"
    moved = (real.transpose(0, 2, 1), got.transpose(0, 2, 1))
    assert compared(moved) == "3 of 7 channels along axis 1 are lost: 4, 5, 6"


def test_indices_and_constants_are_no_trouble() -> None:
    assert compared((np.full((1, 4), 7.0), np.full((1, 4), 7.0))) == ""
    assert compared((np.arange(12).reshape(1, 3, 4), np.arange(12).reshape(1, 3, 4))) == ""


def test_the_warning_says_what_to_do() -> None:
    outputs = [{"output": "y", "sqnr_db": 3.0, "low": 0.0, "high": 320.0, "collapsed": "gone"}]
    (text,) = warnings({"frames": 5, "agreement": None, "outputs": outputs})  # type: ignore[typeddict-item]
    assert text.startswith(
        "WARNING: output 'y' has collapsed in INT8: gone (5 calibration frames, float values 0 to 320)"
    )
    assert "outputs of their own" in text


@pytest.mark.parametrize("count", [1, 3])
def test_few_pictures_are_enough(tmp_path: Path, count: int) -> None:
    body = [helper.make_node("Relu", ["conv"], ["logits"], "relu")]
    assert exported(tmp_path, body, (1, 4, 16, 16), count)["fidelity"]["frames"] == 1
