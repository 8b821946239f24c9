"""Re-pairing: which channels may change places, that the function stays the same, and what the order brings."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn import exact_sums
from edgecnn.exact_sums import Rows
from edgecnn.passes.float_difference import float_difference
from edgecnn.quant.channel_spaces import FIXED, ChannelSpaces, channel_spaces
from edgecnn.quant.float_graph import read
from edgecnn.quant.pairing import Lines, chosen_order, pair, reorder
from edgecnn.quant.pipeline import quantise
from tests.quant.networks import FAST, FloatGraphBuilder, SmallMobileNet, in_normal_form, pictures, settled


class Gated(nn.Module):
    """Slopes, a squeeze-and-excite gate, per-channel factors, pools, upsampling, transposed layers, a joined tail."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slopes = nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8)
        self.squeeze, self.excite = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 1)
        self.factors = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.spatial = nn.Conv2d(8, 1, 3, padding=1)
        self.deep, self.up = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ConvTranspose2d(8, 6, 2, 2)
        self.deep_up, self.side = nn.ConvTranspose2d(6, 6, 2, 2, groups=6), nn.Conv2d(6, 4, 1)
        self.grouped, self.hidden, self.head = nn.Conv2d(10, 8, 1, groups=2), nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.slopes(self.stem(x))
        gate = torch.sigmoid(self.excite(nn.functional.leaky_relu(self.squeeze(x.mean((2, 3), keepdim=True)), 0.1)))
        x = x * gate * torch.sigmoid(self.spatial(x)) - torch.tanh(self.deep(nn.functional.hardswish(x)))
        x = nn.functional.interpolate(nn.functional.max_pool2d(x * self.factors, 2), scale_factor=2.0)
        x = nn.functional.avg_pool2d(self.deep_up(torch.relu(self.up(x))), 2)[:, :, 1:, ::2]
        x = self.grouped(torch.cat([x, self.side(x)], 1))
        result: torch.Tensor = self.head(torch.relu(self.hidden(x.mean((2, 3)))))
        return result


class Plain(nn.Sequential):
    """Three convolutions, two of which read channels that may change places."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__(
            nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(channels, 4, 1), nn.Flatten(), nn.Linear(4 * 8 * 8, 5),
        )  # fmt: skip


def difference(before: ir.Model, after: ir.Model) -> float:
    return float_difference(before, after, [{"frame": frame[None]} for frame in pictures(4)])


def of(builder: FloatGraphBuilder, *outputs: str) -> ChannelSpaces:
    return channel_spaces(builder.graph(*outputs))


def test_a_layer_between_layers_is_free_and_frame_and_outputs_are_fixed() -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 4)
    second = builder.conv(builder.relu(first, name="clamped"), 4)
    found = of(builder, second)
    assert found.spaces[first] == found.spaces["clamped"] != FIXED
    assert found.spaces[builder.x] == found.spaces[second] == FIXED
    assert [node.output for node in found.readers_of(found.spaces[first])] == [second]


def test_added_and_depthwise_tensors_share_a_space() -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 4)
    second = builder.conv(builder.conv(first, 4, group=4, name="deep"), 4)
    end = builder.conv(builder.node("Add", [first, second], name="sum"), 2)
    found = of(builder, end)
    assert len({found.spaces[name] for name in (first, "deep", second, "sum")}) == 1
    assert found.spaces[first] != FIXED


@pytest.mark.parametrize(
    ("op", "shape", "given"),
    [
        ("Softmax", (1, 4, 8, 8), {"axis": 1}),
        ("Transpose", (1, 8, 4, 8), {"perm": (0, 2, 1, 3)}),
        ("DepthToSpace", (1, 1, 16, 16), {"blocksize": 2}),
        ("ReduceMean", (1, 1, 8, 8), {"axes": (1,)}),
        ("Reshape", (1, 256), {}),
        ("NobodyKnows", (1, 4, 8, 8), {}),
    ],
)
def test_what_mixes_channels_or_is_unknown_fixes_them(op: str, shape: tuple[int, ...], given: dict[str, int]) -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 4)
    builder.node(op, [first], shape, name="there", **given)
    found = of(builder, builder.conv(first, 4))
    assert found.spaces[first] == found.spaces["there"] == FIXED


def test_channels_that_are_cut_joined_or_grouped_are_fixed() -> None:
    builder = FloatGraphBuilder()
    cut, joined, grouped = (builder.conv(builder.x, 4) for _ in range(3))
    bounds = [builder.constant(np.asarray([item], np.int64)) for item in (0, 2, 1)]
    builder.node("Slice", [cut, *bounds], (1, 2, 8, 8))
    builder.node("Concat", [joined, joined], (1, 8, 8, 8), axis=1)
    builder.conv(grouped, 4, group=2)
    found = of(builder)
    assert {found.spaces[name] for name in (cut, joined, grouped)} == {FIXED}


def test_channels_that_are_turned_round_are_fixed() -> None:
    builder = FloatGraphBuilder()
    first = builder.conv(builder.x, 4)
    bounds = [builder.constant(np.asarray([item], np.int64)) for item in (3, -5, 1, -1)]
    turned = builder.node("Slice", [first, *bounds])
    assert of(builder, builder.conv(turned, 4)).spaces[first] == FIXED


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobile": lambda: settled(SmallMobileNet()),
    "gated": Gated,
    "plain": Plain,
    "odd": functools.partial(Plain, 9),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_order_of_every_free_space_keeps_the_function(name: str) -> None:
    torch.manual_seed(0)
    model = in_normal_form(NETWORKS[name]().eval())
    before, found, random = model.clone(), channel_spaces(read(model)), np.random.default_rng(0)
    graph = read(model)
    sizes = {found.spaces[tensor]: graph.shapes[tensor][1] for tensor in found.spaces if found.spaces[tensor] != FIXED}
    assert sizes
    reorder(model, found, {space: random.permutation(size) for space, size in sizes.items()})
    assert difference(before, model) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_pairs_cost_less_and_the_function_and_the_rule_stay(name: str) -> None:
    torch.manual_seed(0)
    model = in_normal_form(NETWORKS[name]().eval())
    before, costs = model.clone(), []
    orders = pair(model)
    found = channel_spaces(read(before))
    for space, order in orders.items():
        lines = Lines.joined([Lines.of(node) for node in found.readers_of(space)])
        costs.append((lines.cost(order), lines.cost(np.arange(order.size))))
    assert costs
    assert all(after < was for after, was in costs)
    assert difference(before, model) < 1e-5
    assert not exact_sums.broken_pairs(quantise(model, pictures(4), FAST).graph)


def test_the_quantiser_pairs_channels_with_every_recipe() -> None:
    torch.manual_seed(0)
    model = in_normal_form(Plain().eval())
    before = model.clone()
    quantise(model, pictures(4), FAST)
    was, now = (Lines.of(channel_spaces(read(item)).readers[1]) for item in (before, model))
    assert now.cost(np.arange(16)) < was.cost(np.arange(16))


def test_the_cost_is_that_of_the_least_scales() -> None:
    torch.manual_seed(0)
    graph = read(in_normal_form(Plain().eval()))
    node = channel_spaces(graph).readers[1]
    lines, layout = Lines.of(node), Rows(node.op, 1, node.shape(1))
    rows = layout.split(node.constants[node.inputs[1]])[0].astype(np.float64)
    scales = exact_sums.least_scales(rows, layout.partners())
    free = np.abs(rows).max(axis=1) / exact_sums.TOP
    assert lines.cost(np.arange(16)) == pytest.approx(np.square(scales).sum() / np.square(free).sum(), rel=1e-5)


def test_large_weights_of_one_sign_part_and_those_of_two_signs_meet() -> None:
    weight = np.asarray([[1.0, 0.9, -1.0, -0.9], [0.0, 0.0, 0.0, 0.0]], np.float32).T
    order = chosen_order(Lines(weight, np.arange(2), np.ones(2, np.float32)))
    assert [set(order[:2]), set(order[2:])] in ([{0, 2}, {1, 3}], [{1, 3}, {0, 2}], [{0, 3}, {1, 2}])


def test_of_an_odd_number_the_most_dangerous_channel_stays_alone() -> None:
    weight = np.asarray([[0.6], [1.0], [0.1]], np.float32)
    assert chosen_order(Lines(weight, np.arange(1), np.ones(1, np.float32)))[-1] == 1


def test_operators_on_vectors_of_one_axis_pin_what_they_touch():
    build = FloatGraphBuilder()
    flat = build.node("Reshape", [build.conv(build.x, 4), build.constant(np.asarray([256]))], (256,))
    ends = [build.constant(np.asarray([end])) for end in (0, 100, 0, 1)]
    part = build.node("Slice", [flat, *ends], (100,))
    padded = build.node("Pad", [part, build.constant(np.asarray([1, 2])), build.constant(np.float32(0))], (103,), "y")
    spaces = channel_spaces(build.graph(padded)).spaces
    assert {spaces[name] for name in (flat, part, padded)} == {FIXED}
