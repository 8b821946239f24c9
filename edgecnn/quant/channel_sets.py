"""Which channels of a float graph must be scaled together so that its function stays the same.

Every element of every tensor gets a number, its channel. Elements with one number may be multiplied by one positive
factor: a layer that writes them multiplies its rows, a layer that reads them divides its columns. Channel `FIXED` must
stay as it is. Operators relate the numbers; rules:

1. Conv, ConvTranspose and Gemm write new channels; what they read is one channel per input channel.
2. Relu, LeakyRelu, PRelu, a Clip that ends at zero only, and products with constants commute with positive factors; so
   does any other Clip for channels that do not reach its ends, up to a largest factor (`edgecnn.quant.clamp_room`).
3. Pools, Resize and reductions work inside one channel: what they mix becomes one channel.
4. Slice, Transpose, Reshape, Concat and Pad with zeros move elements: their channels move along.
5. Add and Sub join the channels of their operands, element by element.
6. A product has the channels of one factor where the other factor is fixed.
7. Everything else, the frame, constants that are added and the graph's outputs are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgecnn.ops import FloatNode
from edgecnn.ops import slice as slice_op
from edgecnn.quant.float_graph import FloatGraph

Channels = npt.NDArray[np.int64]
FIXED = 0
SPATIAL = (2, 3)


@dataclass(frozen=True)
class Layer:
    """A Conv, ConvTranspose or Gemm with the channels it reads and writes.

    Attributes:
        node: The node.
        inputs: Channel of every input channel, shape (I,).
        outputs: Channel of every output channel, shape (O,).
    """

    node: FloatNode
    inputs: Channels
    outputs: Channels

    @property
    def weight(self) -> npt.NDArray[np.float64]:
        """The weight as (O, I / groups, taps)."""
        weight = self.node.constants[self.node.inputs[1]].astype(np.float64)
        return _rows_first(weight, self.node).reshape(self.outputs.size, -1, int(np.prod(weight.shape[2:])))

    @property
    def bias(self) -> npt.NDArray[np.float32] | None:
        """The bias with O elements, None without one."""
        return self.node.constants.get(self.node.inputs[2]) if len(self.node.inputs) > 2 else None

    @property
    def columns(self) -> Channels:
        """The channel that every column of `weight` reads, shape (O or 1, I / groups)."""
        groups = self.node.integer("group", 1)
        each: Channels = self.inputs.reshape(groups, -1)
        return each if groups == 1 else np.repeat(each, self.outputs.size // groups, axis=0)

    def scaled(self, scales: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return weight and bias, in the node's own layout, for ``scales`` (one per channel)."""
        weight = self.node.constants[self.node.inputs[1]]
        factors = scales[self.outputs][:, None] / scales[self.columns]
        rows = _rows_first(weight.astype(np.float64), self.node)
        rows = rows * factors.reshape(*factors.shape, *[1] * (rows.ndim - 2))
        bias = self.bias
        moved = None if bias is None else (bias * scales[self.outputs].reshape(bias.shape)).astype(np.float32)
        return np.ascontiguousarray(_rows_first(rows, self.node), np.float32), moved


def _rows_first(weight: npt.NDArray[np.float64], node: FloatNode) -> npt.NDArray[np.float64]:
    """Swap rows and columns of a ConvTranspose that is not depthwise; its own inverse."""
    swap = node.op == "ConvTranspose" and node.integer("group", 1) == 1
    return np.swapaxes(weight, 0, 1) if swap else weight


@dataclass(frozen=True)
class ChannelSets:
    """The channels of a graph.

    Attributes:
        count: Number of channels, `FIXED` included; the numbers are below it.
        layers: The layers in order.
        tensors: Channel of every element by tensor name; axes along which it does not vary have size 1.
        most: Largest factor of every channel, infinity where no clamp limits it, shape (`count`,).
    """

    count: int
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Channels]
    most: npt.NDArray[np.float64]

    @property
    def limited(self) -> Channels:
        """The channels that a clamp limits, but may be scaled."""
        return np.flatnonzero(np.isfinite(self.most[FIXED + 1 :])) + FIXED + 1


def channel_sets(graph: FloatGraph, room: Mapping[str, npt.NDArray[np.float64]] = MappingProxyType({})) -> ChannelSets:
    """Number the channels of ``graph`` by the rules of this module.

    Args:
        graph: Float graph in normal form.
        room: By the output of a clamp, the largest factor of every channel in front of it, below 1 for one that must
            stay as it is; all stay in front of clamps that are missing.
    """
    walk = _Walk(graph, room)
    for node in graph.nodes:
        walk.take(node)
    for name in graph.outputs:
        walk.fix(walk.tensors[name])
    numbers = walk.numbers()
    layers = tuple(Layer(node, numbers[read], numbers[written]) for node, read, written in walk.layers)
    tensors = {name: _compact(numbers[channels]) for name, channels in walk.tensors.items()}
    count = int(numbers.max()) + 1
    most = np.full(count, np.inf)
    for channels, room_there in walk.limits:
        np.minimum.at(most, numbers[channels], room_there)
    most[FIXED] = 1
    return ChannelSets(count, layers, tensors, most)


class _Walk:
    """Walks the nodes in order and joins channels; a joined channel points to a smaller one."""

    def __init__(self, graph: FloatGraph, room: Mapping[str, npt.NDArray[np.float64]]) -> None:
        self._room = room
        self._parent = [FIXED]
        self.tensors: dict[str, Channels] = {graph.frame: _fixed(len(graph.shapes[graph.frame]))}
        self.layers: list[tuple[FloatNode, Channels, Channels]] = []
        self.limits: list[tuple[Channels, npt.NDArray[np.float64]]] = []

    def take(self, node: FloatNode) -> None:
        """Number the output of ``node``."""
        rule = RULES.get(node.op)
        channels = None if rule is None else rule(self, node)
        if channels is None:
            for name in self._activations(node):
                self.fix(self.tensors[name])
            channels = _fixed(len(node.output_shape))
        self.tensors[node.output] = _compact(channels)

    def numbers(self) -> Channels:
        """Return the final number of every channel: dense, `FIXED` first."""
        roots = np.asarray([self._root(channel) for channel in range(len(self._parent))])
        return np.asarray(np.unique(roots, return_inverse=True)[1], np.int64)

    def fix(self, channels: Channels) -> None:
        """Join ``channels`` with `FIXED`."""
        self._join(channels, np.asarray(FIXED))

    def _new(self, count: int) -> Channels:
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _root(self, channel: int) -> int:
        while self._parent[channel] != channel:
            self._parent[channel] = self._parent[self._parent[channel]]
            channel = self._parent[channel]
        return channel

    def _join(self, first: Channels, second: Channels) -> None:
        both = np.broadcast_arrays(first, second)
        for a, b in np.unique(np.stack([item.ravel() for item in both]), axis=1).T.tolist():
            low, high = sorted((self._root(a), self._root(b)))
            self._parent[high] = low

    def _tied(self, channels: Channels, axes: tuple[int, ...]) -> Channels:
        """Join the channels along ``axes`` and return them with these axes of size 1."""
        first = channels
        for axis in axes:
            first = first.take([0], axis)
        self._join(channels, first)
        return first

    def _activations(self, node: FloatNode) -> list[str]:
        return [name for name in node.inputs if name in self.tensors]

    def _full(self, node: FloatNode, index: int = 0) -> Channels:
        return np.broadcast_to(self.tensors[node.inputs[index]], node.shape(index))

    def same(self, node: FloatNode) -> Channels | None:
        return self.tensors[node.inputs[0]]

    def clip(self, node: FloatNode) -> Channels | None:
        homogeneous = all(end in (0.0, float("inf"), float("-inf")) for end in node.bounds())
        if homogeneous:
            return self.tensors[node.inputs[0]]
        if node.output not in self._room:
            return None
        channels, room = self.tensors[node.inputs[0]], self._room[node.output]
        self.fix(channels.ravel()[room < 1])
        self.limits.append((channels.ravel(), room))
        return channels

    def window(self, node: FloatNode) -> Channels | None:
        return self._tied(self.tensors[node.inputs[0]], SPATIAL)

    def reduction(self, node: FloatNode) -> Channels | None:
        axes = node.reduction()["axes"]
        wanted = tuple(int(axis) for axis in axes) if isinstance(axes, tuple) else ()
        tied = self._tied(self.tensors[node.inputs[0]], wanted)
        return tied if node.integer("keepdims", 1) else tied.squeeze(wanted)

    def layer(self, node: FloatNode) -> Channels | None:
        axes = (0,) if node.op == "Gemm" else (0, *SPATIAL)
        tied = self._tied(self.tensors[node.inputs[0]], axes).ravel()
        written = self._new(node.output_shape[1])
        self.layers.append((node, np.broadcast_to(tied, (node.shape(0)[1],)), written))
        return np.expand_dims(written, axes)

    def reshape(self, node: FloatNode) -> Channels | None:
        return self._full(node).reshape(node.output_shape)

    def transpose(self, node: FloatNode) -> Channels | None:
        order = node.ints("perm", tuple(reversed(range(len(node.shape(0))))))
        return np.transpose(self.tensors[node.inputs[0]], order)

    def cut(self, node: FloatNode) -> Channels | None:
        given = slice_op.attributes(node, None)
        bounds = [np.ravel(np.asarray(given[key])).tolist() for key in ("starts", "ends", "steps")]
        return self._full(node)[tuple(slice(*ends) for ends in zip(*bounds, strict=True))]

    def concat(self, node: FloatNode) -> Channels | None:
        return np.concatenate([self._full(node, i) for i in range(len(node.inputs))], node.axis("axis"))

    def pad(self, node: FloatNode) -> Channels | None:
        if node.text("mode", "constant") == "constant" and node.fill() != 0.0:
            return None
        pads, rank = node.argument(1), len(node.output_shape)
        widths = [(pads[axis], pads[axis + rank]) for axis in range(rank)]
        if node.text("mode", "constant") == "reflect":
            return np.pad(self._full(node), widths, mode="reflect")
        if node.text("mode", "constant") == "edge":
            return np.pad(self._full(node), widths, mode="edge")
        # Zeros may take any factor: new channels, one for each index along axis 1.
        moved = np.pad(self._full(node), widths, constant_values=-1)
        zeros = self._new(moved.shape[1]).reshape(-1, *[1] * (rank - 2))
        return np.where(moved < 0, zeros, moved)

    def sum(self, node: FloatNode) -> Channels | None:
        names = self._activations(node)
        if len(names) < 2:
            return None
        first, second = (self._aligned(name, node) for name in names)
        self._join(first, second)
        return first

    def product(self, node: FloatNode) -> Channels | None:
        factors = [self._aligned(name, node) for name in self._activations(node)]
        moving = [item for item in factors if any(self._root(int(channel)) for channel in np.unique(item))]
        return None if len(moving) > 1 else (moving or factors)[0]

    def _aligned(self, name: str, node: FloatNode) -> Channels:
        """Return the channels of an operand with the rank of the output."""
        channels, rank = self.tensors[name], len(node.output_shape)
        return channels.reshape((1,) * (rank - channels.ndim) + channels.shape)


def _fixed(rank: int) -> Channels:
    return np.full((1,) * rank, FIXED, np.int64)


def _compact(channels: Channels) -> Channels:
    """Cut every axis along which ``channels`` do not vary to size 1."""
    for axis in range(channels.ndim):
        first = channels.take([0], axis)
        if channels.strides[axis] == 0 or bool((channels == first).all()):
            channels = first
    return channels


RULES: Mapping[str, Callable[[_Walk, FloatNode], Channels | None]] = {
    "Add": _Walk.sum,
    "AveragePool": _Walk.window,
    "Clip": _Walk.clip,
    "Concat": _Walk.concat,
    "Conv": _Walk.layer,
    "ConvTranspose": _Walk.layer,
    "Gemm": _Walk.layer,
    "LeakyRelu": _Walk.same,
    "MaxPool": _Walk.window,
    "Mul": _Walk.product,
    "PRelu": _Walk.same,
    "Pad": _Walk.pad,
    "ReduceMax": _Walk.reduction,
    "ReduceMean": _Walk.reduction,
    "Relu": _Walk.same,
    "Reshape": _Walk.reshape,
    "Resize": _Walk.window,
    "Slice": _Walk.cut,
    "Sub": _Walk.sum,
    "Transpose": _Walk.transpose,
}
