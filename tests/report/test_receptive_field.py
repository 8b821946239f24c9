from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.report.receptive_field import receptive_fields
from tests.report.networks import block, head, network


def seen_by_the_middle(module: nn.Module, size: int) -> tuple[int, int]:
    """Measure the field of the middle element of a map: where its gradient reaches."""
    for item in module.modules():
        if isinstance(item, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.constant_(item.weight, 1.0)
    picture = torch.zeros(1, 1, size, size, requires_grad=True)
    maps = module.eval()(picture)
    maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2].backward()
    assert picture.grad is not None
    rows, columns = np.nonzero(picture.grad[0, 0].numpy())
    return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)


CHAINS = {
    "strides": nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 5, 1, 2), nn.Conv2d(1, 1, 3, 2, 1)),
    "dilation": nn.Sequential(nn.Conv2d(1, 1, 3, 1, 2, dilation=2), nn.Conv2d(1, 1, (3, 1)), nn.AvgPool2d(2)),
    "average": nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 1, 3, 1, 1), nn.AvgPool2d(2, 2)),
    "upsampled": nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, 1, 1)),
    "shuffled": nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.PixelShuffle(2)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_formula_is_no_smaller_than_the_gradient_and_at_most_one_step_larger(name: str) -> None:
    module = CHAINS[name]
    found = network(module, 1, 48, 48)
    field = receptive_fields(found)[found.outputs[0]]
    measured = seen_by_the_middle(module, 48)

    # Behind an upsampling neighbours see alike, so one element may see less than the formula's bound.
    slack = 0 if name != "upsampled" else 2
    for axis in (0, 1):
        assert measured[axis] <= field.pixels()[axis] <= measured[axis] + slack


def test_jump_is_the_product_of_strides() -> None:
    found = network(nn.Sequential(block(1, 4, 3, 2), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, (1, 2), 1)), 1, 32, 32)
    field = receptive_fields(found)[found.outputs[0]]

    assert (field.jump, field.extent) == ((4, 8), (8, 4))


def test_a_global_mean_widens_the_size_but_not_the_local_field() -> None:
    found = network(nn.Sequential(block(1, 4), head(4)), 1, 32, 32)
    field = receptive_fields(found)[found.outputs[0]]

    assert (field.size, field.local, field.extent) == ((34, 34), (3, 3), (1, 1))


def test_a_matrix_over_a_flattened_map_sees_every_place() -> None:
    found = network(nn.Sequential(block(1, 4), nn.Flatten(), nn.Linear(4 * 256, 10)), 1, 16, 16)
    field = receptive_fields(found)[found.outputs[0]]

    assert (field.local, field.axes) == ((18, 18), (None, None))


def test_a_channel_shuffle_keeps_rows_and_columns() -> None:
    found = network(nn.Sequential(block(1, 4), nn.ChannelShuffle(2), block(4, 4, 3, 2)), 1, 16, 20)
    field = receptive_fields(found)[found.outputs[0]]

    assert (field.size, field.axes, field.extent) == ((5, 5), (2, 3), (8, 10))


def test_the_widest_path_wins() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 7, padding=3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.near(x), self.far(x)], 1)

    found = network(Two(), 1, 16, 16)

    assert receptive_fields(found)[found.outputs[0]].pixels() == (7, 7)


def test_no_fields_without_a_picture() -> None:
    assert receptive_fields(network(nn.Linear(8, 4), 8)) == {}


def test_pixels_are_rounded_up() -> None:
    found = network(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)), 1, 8, 8)
    field = receptive_fields(found)[found.outputs[0]]

    assert field.size == (2, 2)
    assert field.pixels() == (math.ceil(field.size[0]), math.ceil(field.size[1]))
