"""Layer by layer: weights stay on their grids, the noise falls, and memory is bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.quant import gptq
from edgecnn.quant.layerwise import LIVE_BYTES, frames_that_fit
from edgecnn.quant.pipeline import draft, quantise
from edgecnn.recipe import Recipe
from tests.quant.networks import (
    SmallMobileNet,
    float_outputs,
    in_normal_form,
    integer_outputs,
    pictures,
    settled,
    sqnr,
    weights_of,
)

NEAREST = Recipe("nearest", "", "minmax", "minmax", False)
GPTQ = replace(NEAREST, rounding="gptq")


class Upsampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.head = nn.Conv2d(3, 16, 3, 2, 1), nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.up(torch.relu(self.down(x)))))


def noise(model, recipe: Recipe, bits: int) -> float:
    held_out = pictures(8, seed=5)
    with weights_of(bits):
        graph = quantise(model, pictures(24, seed=1), recipe).graph
    return sqnr(float_outputs(model, held_out), integer_outputs(graph, held_out))


@pytest.mark.parametrize("network", [SmallMobileNet, Upsampled])
def test_noise_on_other_pictures_falls(network):
    """On random networks one or the other may be ahead by luck: the mean over some counts."""
    gains = []
    for seed in range(4):
        torch.manual_seed(seed)
        model = in_normal_form(settled(network()))
        gains.append(noise(model, GPTQ, 4) - noise(model, NEAREST, 4))
    assert np.mean(gains) > 1.0


def test_weights_alone_change_and_stay_in_range():
    torch.manual_seed(4)
    model = in_normal_form(settled(SmallMobileNet()))
    with weights_of(5):
        before, after = (quantise(model, pictures(6), recipe).graph for recipe in (NEAREST, GPTQ))
    assert before.tensors == after.tensors
    changed = {name for name, array in before.constants.items() if not np.array_equal(array, after.constants[name])}
    assert changed
    assert all(name.endswith("/weight") for name in changed)
    assert max(int(np.abs(after.constants[name]).max()) for name in changed) <= 15


def test_long_rows_are_rounded_in_parts(monkeypatch):
    torch.manual_seed(4)
    model = in_normal_form(settled(SmallMobileNet()))
    whole = noise(model, GPTQ, 4)
    monkeypatch.setattr(gptq, "LARGEST", 12)
    assert noise(model, GPTQ, 4) == pytest.approx(whole, abs=2.0)


def test_only_as_many_frames_as_memory_allows():
    graph = draft(in_normal_form(nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1), nn.Conv2d(64, 2, 1)), size=512))
    frames = pictures(1, 512) * 40
    shown = frames_that_fit(graph, frames)
    # Alive together at most: what the second convolution reads, and what it writes.
    assert len(shown) == LIVE_BYTES // (512 * 512 * (64 + 3))
