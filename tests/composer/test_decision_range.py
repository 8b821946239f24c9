"""A threshold that INT8 cannot reach is refused, and grids hold what decisions need."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgecnn.composer import Request, build, open_model
from edgecnn.composer.decision_range import needed_ranges
from edgecnn.composer.source import Expectation
from edgecnn.errors import CalibrationError
from edgecnn.runtime.bundle import Bundle
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files

DARK = np.random.default_rng(1).integers(0, 12, (16, 16, 16, 3), dtype=np.uint8)


def inspected(folder: Path, threshold: float, end: str = "") -> Path:
    """Export a map of logits, calibrated on dark pictures, on which no logit is far from zero."""
    kernel = np.abs(onnx_files.weight()[:1]) * 4
    body = [helper.make_node(end or "Identity", ["conv"], ["logits"], "end")]
    path = onnx_files.write(folder / "net.onnx", body, kernel=kernel, output=(1, 1, 16, 16))
    source = open_model(str(path))
    decoding = {"threshold": threshold, "pixel_threshold": 0.5, "peak_pixels": 4}
    expects = replace(source.expects, task="anomaly", decoding=decoding)
    build(Request(source, expects, ("rpi", "coral"), Frames(DARK), "fast"), folder / "bundle")
    return folder / "bundle"


@pytest.mark.parametrize("threshold", [0.3, 0.95, 0.995])
def test_the_grid_holds_the_threshold_though_calibration_never_came_near(tmp_path: Path, threshold: float) -> None:
    with Bundle.open(inspected(tmp_path, threshold)) as bundle:
        (output,) = bundle.manifest.outputs
    grid = output.tensor.grid
    wanted = abs(math.log(threshold / (1 - threshold)))
    assert (255 - grid.zero_point) * grid.scale[0] > wanted
    assert -grid.zero_point * grid.scale[0] < -wanted


def test_a_threshold_beyond_the_largest_probability_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"could never reject a part: its scores reach from .* to 0\.996"):
        inspected(tmp_path, 0.999, "Sigmoid")
    assert not (tmp_path / "bundle").exists()


def test_a_threshold_that_everything_reaches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="could never pass a part"):
        inspected(tmp_path, 1e-5, "Sigmoid")


def test_only_inspections_have_a_decision_range() -> None:
    meanings = {"map": "logits", "kinds": "probabilities", "rest": "raw"}
    told = Expectation(task="defect", thresholds={"scratch": 0.9}, decoding={"pixel_threshold": 0.2})
    found = needed_ranges(told, meanings)
    assert found["map"] == pytest.approx((-math.log(9) - 1, math.log(9) + 1))
    assert found["kinds"] == (0.0, 1.0)
    assert "rest" not in found
    assert needed_ranges(replace(told, task="classify"), meanings) == {}
