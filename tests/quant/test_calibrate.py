"""Calibration streams frames and keeps statistics; it refuses nothing silently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.errors import CalibrationError
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import collect
from tests.quant.networks import in_normal_form, pictures


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return in_normal_form(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Sigmoid()), size=12)


def conv_outputs(model) -> list[str]:
    return [str(node.outputs[0].name) for node in model.graph if node.op_type == "Conv"]


def test_statistics_are_those_of_the_float_model(model):
    names, frames = conv_outputs(model), pictures(5, 12)
    found = collect(model, names, frames)
    for name in names:
        runner = FloatModel(model, outputs=[name])
        values = np.stack([runner({"frame": frame[None]})[0] for frame in frames])
        assert (found[name].low, found[name].high) == (values.min(), values.max())
        assert found[name].counts.sum() == values.size


def test_frames_are_walked_through_once(model):
    seen = []
    collect(model, conv_outputs(model), iter(pictures(4, 12)), lambda: seen.append(1))
    assert len(seen) == 4


def test_no_frame_is_an_error_that_says_what_to_give(model):
    with pytest.raises(CalibrationError, match="at least one image, got none; give a folder with --calibrate"):
        collect(model, conv_outputs(model), [])


def test_a_tensor_that_overflows_is_named():
    network = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False))
    for layer in network:
        nn.init.constant_(layer.weight, 1e38)
    model = in_normal_form(network, size=4)
    name = conv_outputs(model)[1]
    with pytest.raises(CalibrationError, match=f"tensor '{name}' has NaN or infinite values"):
        collect(model, [name], [np.full((4, 4, 3), 255, np.uint8)])
