"""How far channels may grow in front of a clamp: exactly as far as some input makes them reach it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn.integer_graph import Array
from edgecnn.passes.float_difference import FloatModel, float_difference
from edgecnn.quant.channel_sets import FIXED, channel_sets
from edgecnn.quant.clamp_room import MARGIN, MOST, clamp_room
from edgecnn.quant.equalise import LIMIT, rescale
from edgecnn.quant.float_graph import read
from tests.quant.networks import in_normal_form, pictures

SIZE = 8


def pointwise(rows: Sequence[Sequence[float]], bias: Sequence[float]) -> nn.Conv2d:
    """Return a 1x1 convolution with these weights."""
    layer = nn.Conv2d(len(rows[0]), len(rows), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows)[:, :, None, None])
        layer.bias.copy_(torch.tensor(bias))
    return layer


def extreme_frames(count: int) -> list[Array]:
    """Return frames of zeros and 255 at random."""
    values = np.random.default_rng(0).choice([0, 255], (count, SIZE, SIZE, 3)).astype(np.uint8)
    return list(values)


def only_room(model: ir.Model) -> Array:
    (room,) = clamp_room(model, pictures(2, SIZE)).values()
    return room


ROWS = ([1.0, 2.0, -5.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -4.0])
BIAS = (0.5, 0.0, 0.0, 0.0)
"""On a frame from 0 to 1: from -4.5 to 3.5, from 0 to 9, 0, and from -7 to 0."""


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 6.0, [6 / 3.5, 6 / 9, MOST, MOST]),
        (-9.0, 6.0, [6 / 3.5, 6 / 9, MOST, 9 / 7]),
        (-np.inf, 2.0, [2 / 3.5, 2 / 9, MOST, MOST]),
        (-3.0, np.inf, [3 / 4.5, MOST, MOST, 3 / 7]),
    ],
)
def test_room_behind_the_frame(low: float, high: float, wanted: list[float]) -> None:
    network = nn.Sequential(pointwise(ROWS, BIAS), Clamp(low, high), nn.Conv2d(4, 2, 1))
    np.testing.assert_allclose(only_room(in_normal_form(network, SIZE)), wanted, rtol=1e-6)


class Clamp(nn.Module):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = (end if np.isfinite(end) else None for end in (low, high))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x, self.low, self.high)


@pytest.mark.parametrize("ends", [(0.5, 6.0), (-6.0, -0.5), (0.0, np.inf)])
def test_clamps_without_zero_inside_or_without_an_end_are_missing(ends: tuple[float, float]) -> None:
    network = nn.Sequential(pointwise(ROWS, BIAS), Clamp(*ends), nn.Conv2d(4, 2, 1))
    assert clamp_room(in_normal_form(network, SIZE), pictures(1, SIZE)) == {}


@pytest.mark.parametrize("between", [[], [nn.MaxPool2d(2)], [nn.AvgPool2d(2)]])
def test_a_clamped_channel_ends_where_its_reach_or_the_clamp_does(between: list[nn.Module]) -> None:
    """The rows reach 3.5, 6 (clamped), 0 and 0; the second layer, one channel each, makes a tenth, 2, 1 and 1 of it."""
    second = nn.Conv2d(4, 4, 1, groups=4)
    with torch.no_grad():
        second.weight.copy_(torch.tensor([0.1, 2.0, 1.0, 1.0]).reshape(4, 1, 1, 1))
        second.bias.copy_(torch.tensor([0.0, -8.0, 3.0, -1.0]))
    network = nn.Sequential(pointwise(ROWS, BIAS), nn.ReLU6(), *between, second, nn.ReLU6(), nn.Conv2d(4, 2, 1))
    first, room = clamp_room(in_normal_form(network, SIZE), pictures(1, SIZE)).values()
    np.testing.assert_allclose(room, [6 / 0.35, 6 / 4, 6 / 3, MOST], rtol=1e-6)
    assert first.size == 4


def test_what_no_clamp_ends_ends_beyond_what_was_seen() -> None:
    network = nn.Sequential(
        pointwise(ROWS, BIAS), pointwise([[0.1, 0.0, 0.0, -0.2]], [0.0]), nn.ReLU6(), nn.Conv2d(1, 2, 1)
    )
    model, frames = in_normal_form(network, SIZE), pictures(3, SIZE)
    source = str(next(node for node in model.graph if node.op_type == "Conv").outputs[0].name)
    runner = FloatModel(model, outputs=[source])
    seen = np.stack([runner({str(model.graph.inputs[0].name): frame[None]})[0] for frame in frames])
    (room,) = clamp_room(model, frames).values()
    np.testing.assert_allclose(room, 6 / (MARGIN * (0.1 * seen.max() - 0.2 * seen.min())), rtol=1e-6)


def scaled_to_the_limit(model: ir.Model, beyond: float) -> ir.Model:
    """Multiply every channel that a clamp limits by its largest factor times ``beyond``."""
    sets, scaled = channel_sets(read(model), clamp_room(model, [])), model.clone()
    scales = np.ones(sets.count)
    scales[sets.limited] = np.minimum(sets.most[sets.limited], LIMIT) * beyond
    rescale(scaled, sets, scales)
    return scaled


def test_the_largest_factors_are_exact_for_every_frame_and_larger_ones_are_not() -> None:
    torch.manual_seed(1)
    head = [nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()]
    model = in_normal_form(nn.Sequential(*head, nn.Conv2d(8, 4, 1)).eval(), SIZE)
    samples = [{str(model.graph.inputs[0].name): frame[None]} for frame in extreme_frames(20)]
    assert channel_sets(read(model), clamp_room(model, [])).limited.size == 16
    assert float_difference(model, scaled_to_the_limit(model, 1.0), samples) <= 1e-5
    assert float_difference(model, scaled_to_the_limit(model, 1.5), samples) > 1e-2


def test_channels_that_reach_the_clamp_are_fixed_and_the_others_limited() -> None:
    model = in_normal_form(nn.Sequential(pointwise(ROWS, BIAS), nn.ReLU6(), nn.Conv2d(4, 2, 1)), SIZE)
    sets = channel_sets(read(model), clamp_room(model, []))
    assert sets.layers[0].outputs.tolist() == sets.layers[1].inputs.tolist() == [1, FIXED, 2, 3]
    np.testing.assert_allclose(sets.most, [1, 6 / 3.5, MOST, MOST], rtol=1e-6)
    assert sets.limited.tolist() == [1, 2, 3]
