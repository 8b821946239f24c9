"""Which channels of a float graph may change places together so that its function stays the same.

Axis 1 of a tensor holds its channels. Tensors whose channels must stand in one order form a space; those that must stay
as they are belong to the space `FIXED`. Rules:

1. A Conv or ConvTranspose without groups and a Gemm read one space and write another: columns follow the one, rows and
   biases the other.
2. Operators that take element by element, and depthwise layers, write into the space that they read; slopes, kernels
   and biases follow it.
3. Add, Sub and Mul join the spaces of operands that have all channels, and constants follow. An operand with a single
   channel, the same for all, stays apart.
4. Pools, Resize, Pad, Slice, Reshape and reductions that leave axes 0 and 1 alone keep the space.
5. Everything else fixes what it reads and writes, and so are the frame and the graph's outputs fixed. An operator that
   nobody has thought of is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgecnn.ops import FloatNode
from edgecnn.ops import slice as slice_op
from edgecnn.quant.float_graph import FloatGraph

FIXED = ""


@dataclass(frozen=True)
class Follower:
    """A constant that follows the order of channels.

    Attributes:
        node: The node that reads it.
        index: Which input of the node it is.
        axes: Tensor whose channels stand along an axis of the constant, by that axis.
    """

    node: FloatNode
    index: int
    axes: Mapping[int, str]


@dataclass(frozen=True)
class ChannelSpaces:
    """The spaces of a graph.

    Attributes:
        spaces: Space of every activation, by the tensor's name: the name of one of its tensors, or `FIXED`.
        followers: Every constant with an axis of channels.
        readers: The layers without groups, in order of execution: their weights mix the channels they read.
    """

    spaces: Mapping[str, str]
    followers: tuple[Follower, ...]
    readers: tuple[FloatNode, ...]

    def readers_of(self, space: str) -> list[FloatNode]:
        """Return the layers that mix the channels of ``space``."""
        return [node for node in self.readers if self.spaces[node.inputs[0]] == space]


def channel_spaces(graph: FloatGraph) -> ChannelSpaces:
    """Find the spaces of ``graph``, in normal form, by the rules of this module."""
    walk = _Walk(graph)
    for node in graph.nodes:
        walk.take(node)
    walk.join(*graph.outputs, FIXED)
    spaces = {name: walk.space(name) for name in walk.parents if name != FIXED}
    return ChannelSpaces(spaces, tuple(walk.followers), tuple(walk.readers))


class _Walk:
    """Walks the nodes in order and joins spaces; a joined tensor points to another one of its space."""

    def __init__(self, graph: FloatGraph) -> None:
        self.parents = {FIXED: FIXED, graph.frame: FIXED}
        self.followers: list[Follower] = []
        self.readers: list[FloatNode] = []

    def take(self, node: FloatNode) -> None:
        """Put the output of ``node`` into a space."""
        self.parents[node.output] = node.output
        rule = RULES.get(node.op)
        if rule is None or not rule(self, node):
            self.join(*self._activations(node), node.output, FIXED)

    def space(self, name: str) -> str:
        while self.parents[name] != name:
            name = self.parents[name]
        return name

    def join(self, *names: str) -> None:
        """Make one space of the tensors ``names``; `FIXED` sorts before every name."""
        roots = {self.space(name) for name in names}
        self.parents.update(dict.fromkeys(roots, min(roots)))

    def layer(self, node: FloatNode) -> bool:
        if node.inputs[1] not in node.constants or len(node.shape(0)) != len(node.shape(1)):
            return False
        if node.integer("group", 1) == 1:
            return self._dense(node)
        depthwise = node.integer("group") == node.shape(0)[1] == node.output_shape[1]
        return depthwise and self._follow(node, 1, {0: node.output}) and self._biased(node) and self.same(node)

    def _dense(self, node: FloatNode) -> bool:
        rows = 1 if node.op == "ConvTranspose" else 0
        self.readers.append(node)
        return self._follow(node, 1, {rows: node.output, 1 - rows: node.inputs[0]}) and self._biased(node)

    def _biased(self, node: FloatNode) -> bool:
        # The bias of a Gemm may be a row (1, channels).
        return len(node.inputs) < 3 or not node.inputs[2] or self._follow(node, 2, {-1: node.output})

    def same(self, node: FloatNode) -> bool:
        """Keep the space of an operator that leaves axes 0 and 1 alone."""
        self.join(node.inputs[0], node.output)
        return len(node.output_shape) >= 2 and node.shape(0)[:2] == node.output_shape[:2]

    def slopes(self, node: FloatNode) -> bool:
        return node.inputs[1] in node.constants and self._constant(node, 1) and self.same(node)

    def cut(self, node: FloatNode) -> bool:
        given = slice_op.attributes(node, None)
        steps = given["steps"]
        return isinstance(steps, Sequence) and len(steps) > 1 and steps[1] == 1 and self.same(node)

    def pad(self, node: FloatNode) -> bool:
        pads, rank = node.argument(1), len(node.output_shape)
        return rank > 1 and not pads[1] and not pads[1 + rank] and self.same(node)

    def reduction(self, node: FloatNode) -> bool:
        axes = node.reduction()["axes"]
        return isinstance(axes, Sequence) and not {0, 1} & set(axes) and self.same(node)

    def elementwise(self, node: FloatNode) -> bool:
        return all(self._operand(node, index) for index in range(len(node.inputs)))

    def _operand(self, node: FloatNode, index: int) -> bool:
        if node.inputs[index] in node.constants:
            return self._constant(node, index)
        shape, wanted = node.shape(index), node.output_shape
        if len(shape) != len(wanted) or len(wanted) < 2:
            return False
        if shape[1] == wanted[1]:
            self.join(node.inputs[index], node.output)
        return True

    def _constant(self, node: FloatNode, index: int) -> bool:
        """Let a constant that is broadcast to the output follow, where it has one value a channel or more."""
        shape = node.constants[node.inputs[index]].shape
        axis = len(shape) - len(node.output_shape) + 1
        is_shared = axis < 0 or shape[axis] == 1
        return is_shared or self._follow(node, index, {axis: node.output})

    def _follow(self, node: FloatNode, index: int, axes: Mapping[int, str]) -> bool:
        is_constant = node.inputs[index] in node.constants
        if is_constant:
            self.followers.append(Follower(node, index, axes))
        return is_constant

    def _activations(self, node: FloatNode) -> list[str]:
        return [name for name in node.inputs if name in self.parents and name != FIXED]


RULES: Mapping[str, Callable[[_Walk, FloatNode], bool]] = {
    "Add": _Walk.elementwise,
    "AveragePool": _Walk.same,
    "Clip": _Walk.same,
    "Conv": _Walk.layer,
    "ConvTranspose": _Walk.layer,
    "Gemm": _Walk.layer,
    "LeakyRelu": _Walk.same,
    "MaxPool": _Walk.same,
    "Mul": _Walk.elementwise,
    "PRelu": _Walk.slopes,
    "Pad": _Walk.pad,
    "ReduceMax": _Walk.reduction,
    "ReduceMean": _Walk.reduction,
    "Relu": _Walk.same,
    "Reshape": _Walk.same,
    "Resize": _Walk.same,
    "Sigmoid": _Walk.same,
    "Slice": _Walk.cut,
    "Sub": _Walk.elementwise,
    "Tanh": _Walk.same,
}
