"""Cross-layer equalisation: which channels may be scaled, that the function stays the same, and what it repairs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgecnn import models
from edgecnn.errors import CalibrationError
from edgecnn.passes.float_difference import float_difference
from edgecnn.quant.channel_sets import FIXED, Channels, ChannelSets, channel_sets
from edgecnn.quant.equalise import LIMIT, equalise, rescale
from edgecnn.quant.float_graph import read
from edgecnn.quant.pipeline import quantise
from tests.quant.networks import (
    FAST,
    FloatGraphBuilder,
    SmallMobileNet,
    float_outputs,
    in_normal_form,
    integer_outputs,
    pictures,
    settled,
    sqnr,
)


class Crossed(nn.Module):
    """Halves that are cut, shuffled and joined, slopes, a gate, pools, upsampling, transposed and grouped layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slopes = nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8)
        self.left, self.right = nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Conv2d(4, 4, 1)
        self.grouped, self.gate = nn.Conv2d(8, 8, 3, 1, 1, groups=2), nn.Conv2d(8, 8, 1)
        self.up, self.deep_up = nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 6, 2, 2, groups=6)
        self.flat, self.head = nn.Linear(6 * 8 * 8, 7), nn.Linear(7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.slopes(self.stem(x))
        x = torch.cat([torch.relu(self.left(x[:, :4])), self.right(x[:, 4:])], 1)
        x = x.reshape(-1, 2, 4, 16, 16).transpose(1, 2).reshape(-1, 8, 16, 16)
        x = x - nn.functional.leaky_relu(self.grouped(x), 0.1)
        x = x * torch.sigmoid(self.gate(nn.functional.max_pool2d(x, 3, 1, 1)))
        x = nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2.0)
        x = nn.functional.avg_pool2d(self.deep_up(torch.relu(self.up(x))), 8)
        return self.head(torch.relu(self.flat(x.flatten(1))))


class Padded(nn.Module):
    """A shortcut that skips pixels and pads channels with zeros, as residual networks for small pictures have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        shortcut = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        x = torch.relu(shortcut + self.second(torch.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


def of(builder: FloatGraphBuilder, *outputs: str) -> ChannelSets:
    return channel_sets(builder.graph(*outputs))


def numbers(sets: ChannelSets, name: str) -> list[int]:
    channels: Channels = sets.tensors[name]
    return [int(item) for item in channels.ravel()]


def test_a_layer_between_layers_is_free_and_outputs_are_fixed() -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 4)
    second = builder.conv(builder.relu(first), 4)
    sets = of(builder, second)
    assert numbers(sets, first) == [1, 2, 3, 4]
    assert numbers(sets, second) == [FIXED]
    assert sets.layers[1].inputs.tolist() == [1, 2, 3, 4]
    assert not sets.layers[0].inputs.any()


def test_addition_joins_channels() -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 3)
    second = builder.conv(first, 3)
    both = builder.node("Add", [first, second])
    sets = of(builder, builder.conv(both, 2))
    assert numbers(sets, first) == numbers(sets, second) == numbers(sets, both) == [1, 2, 3]


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Softmax"])
def test_what_is_not_homogeneous_fixes_its_input(op: str) -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 3)
    last = builder.conv(builder.node(op, [first]), 2)
    assert numbers(of(builder, last), first) == [FIXED]


@pytest.mark.parametrize(("low", "high", "free"), [(0.0, 6.0, False), (-1.0, 1.0, False), (0.0, np.inf, True)])
def test_a_clip_is_free_only_where_it_ends_at_zero(low: float, high: float, free: bool) -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 3)
    last = builder.conv(builder.clip(first, low, high), 2)
    assert (numbers(of(builder, last), first) == [1, 2, 3]) is free


def test_concat_and_slice_move_channels() -> None:
    builder = FloatGraphBuilder()
    a, b = builder.conv(builder.x, 2), builder.conv(builder.x, 3)
    joined = builder.node("Concat", [a, b], (1, 5, 8, 8), axis=1)
    bounds = [builder.constant(np.asarray(item)) for item in ([1], [5], [1], [2])]
    cut = builder.node("Slice", [joined, *bounds], (1, 2, 8, 8))
    sets = of(builder, builder.conv(cut, 2), builder.conv(joined, 2))
    assert numbers(sets, joined) == numbers(sets, a) + numbers(sets, b)
    assert numbers(sets, cut) == [numbers(sets, joined)[1], numbers(sets, joined)[3]]


def random_scales(sets: ChannelSets, seed: int) -> Channels:
    scales = np.exp2(np.random.default_rng(seed).uniform(-4, 4, sets.count))
    scales[FIXED] = 1
    return np.asarray(scales)


def difference_after(model: ir.Model, seed: int) -> tuple[float, int]:
    """Rescale every channel at random; return the relative difference and the number of free channels."""
    before, sets = model.clone(), channel_sets(read(model))
    rescale(model, sets, random_scales(sets, seed))
    samples = [{str(model.graph.inputs[0].name): frame[None]} for frame in pictures(2)]
    return float_difference(before, model, samples), sets.count - 1


@functools.cache
def prepared(network: type[nn.Module]) -> ir.Model:
    torch.manual_seed(3)
    return in_normal_form(settled(network()))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), network=st.sampled_from([Crossed, Padded, SmallMobileNet]))
def test_any_factors_preserve_the_function(seed: int, network: type[nn.Module]) -> None:
    difference, free = difference_after(prepared(network).clone(), seed)
    assert difference <= 1e-5
    assert free >= 16


SLOW = ("mobilenetv2", "resnet18", "resnet50")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in models.names()]
)
def test_built_in_networks_keep_their_function(name: str) -> None:
    torch.manual_seed(0)
    size, channels = {"convnet": (28, 1), "defect": (128, 3)}.get(name, (64, 3))
    model = in_normal_form(models.build(name), size, channels)
    before, frames = model.clone(), pictures(4, size, channels)
    equalise(model, frames)
    samples = [{str(model.graph.inputs[0].name): frame[None]} for frame in frames[:2]]
    assert float_difference(before, model, samples) <= 1e-5


@functools.cache
def hard_case() -> ir.Model:
    """Return an ordinary network made hard: in every linear bottleneck one channel is 100 times as wide, one dead."""
    torch.manual_seed(3)
    network = settled(SmallMobileNet())
    for block in list(network.features)[1:6]:
        norm = block.body[3]
        nn.init.zeros_(norm.weight[3:4])
        nn.init.zeros_(norm.bias[3:4])
    model = in_normal_form(network)
    sets = channel_sets(read(model))
    scales = np.ones(sets.count)
    scales[[layer.outputs[1] for layer in sets.layers if layer.outputs.all()]] = 100
    rescale(model, sets, scales)
    return model


@functools.cache
def hard_clamps() -> ir.Model:
    """Return a network with one channel 100 times as wide as the others behind the first ReLU6 of every block."""
    torch.manual_seed(3)
    network = settled(SmallMobileNet())
    for block in list(network.features)[1:6]:
        (_, norm, _), (reader, _, _) = block.body[:2]
        others = torch.arange(norm.num_features) != 1
        with torch.no_grad():
            norm.weight[others] /= 100
            norm.bias[others] /= 100
            reader.weight[others] *= 100
    return in_normal_form(network)


@pytest.mark.parametrize(("case", "scaled"), [(hard_case, 2), (hard_clamps, 5)])
def test_a_channel_a_hundred_times_wider_is_repaired(case: Callable[[], ir.Model], scaled: int) -> None:
    model, frames = case().clone(), pictures(16, seed=5)
    before, wanted = model.clone(), float_outputs(model, frames)
    hard = sqnr(wanted, integer_outputs(quantise(model, frames[:8], FAST).graph, frames))
    done = equalise(model, frames[:8])
    repaired = sqnr(wanted, integer_outputs(quantise(model, frames[:8], FAST).graph, frames))
    assert hard < 12
    assert repaired > hard + 15
    assert sum(3 < part.ratio <= LIMIT**2 and part.noise < 0.01 for part in done.parts) == scaled
    samples = [{str(model.graph.inputs[0].name): frame[None]} for frame in frames]
    assert float_difference(before, model, samples) <= 1e-5


def test_dead_channels_and_black_frames_give_finite_weights() -> None:
    model = hard_case().clone()
    black = np.zeros((32, 32, 3), np.uint8)
    equalise(model, [black])
    arrays = [value.const_value.numpy() for value in model.graph.initializers.values() if value.const_value is not None]
    assert all(np.isfinite(item).all() for item in arrays)


def test_names_of_tensors_stay_and_old_weights_go() -> None:
    model = hard_case().clone()
    count = len(model.graph.initializers)
    names = [node.outputs[0].name for node in model.graph]
    done = equalise(model, pictures(4))
    assert [node.outputs[0].name for node in model.graph] == names
    assert len(model.graph.initializers) == count
    assert {tensor for part in done.parts for tensor in part.tensors} <= set(names)


def test_a_network_without_free_channels_is_left_alone() -> None:
    torch.manual_seed(0)
    model = in_normal_form(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 4, 1), nn.Sigmoid()), 8)
    constants = set(model.graph.initializers)
    assert equalise(model, pictures(2, 8)).parts == ()
    assert set(model.graph.initializers) == constants


def test_no_frame_is_refused() -> None:
    with pytest.raises(CalibrationError, match="at least one image"):
        equalise(hard_case().clone(), [])
