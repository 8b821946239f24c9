"""Which tensors stand on one grid, which clamps the grids make by themselves, and where a change of grid is needed.

Rules, in this order:

1. A Relu or Clip behind an operator with a grid of its own, read by nobody else, becomes that operator's clamp: the
   grid ends where the clamp does, and saturation clamps for nothing.
2. Any other Relu or Clip is a Clip of integers on the grid of its input: exact, no second rounding.
3. Operators that only move or select values (Concat, pooling, Resize, Reshape, Slice, Transpose, ...) share one grid
   between inputs and output, because Edge TPU and integer kernels demand it.
4. Sigmoid, Tanh and Softmax have fixed grids; so has the frame. A Concat that mixes a fixed grid with others reads it
   through a Requantize.
5. So it reads a mean, or a product with a tensor on a fixed grid, of what it joins it with: on one grid such results
   would often be exactly half of a step.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType

from edgecnn.integer_graph import Attribute
from edgecnn.ops import FloatNode, op_file
from edgecnn.quant.float_graph import FloatGraph
from edgecnn.tensor import QuantParams

CLAMPS = ("Relu", "Clip")
Range = tuple[float, float]


def module_of(op: str) -> ModuleType:
    """Return the operator file that a float node belongs to; a Relu is a Clip."""
    return importlib.import_module(f"edgecnn.ops.{op_file('Clip' if op == 'Relu' else op)}")


def rounds(op: str, attributes: Mapping[str, Attribute]) -> bool:
    """Say whether an operator computes the integers of its output: on a shared grid most only move or choose them.

    Args:
        op: The operator.
        attributes: Those of the float node or of the integer node.
    """
    averages = op == "AveragePool" or (op == "Resize" and attributes.get("mode", "nearest") != "nearest")
    return averages or module_of(op).GRID in ("own", "fixed")


@dataclass
class Placement:
    """The result: nodes after rules 1 and 4, and the groups of tensors that share a grid.

    Attributes:
        nodes: Float nodes; fused clamps are gone, Requantize nodes are added.
        clamps: Ends of the fused clamp by tensor name, in real values.
        own: Names of tensors whose range must be observed.
        fixed: Fixed grid by group root.
        fused: Names of the source nodes by node name.
        copies: Name of the float tensor whose values an added Requantize repeats, by its output's name.
    """

    nodes: list[FloatNode] = field(default_factory=list)
    clamps: dict[str, Range] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    fixed: dict[str, QuantParams] = field(default_factory=dict)
    fused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    _parent: dict[str, str] = field(default_factory=dict)

    def group(self, name: str) -> str:
        """Return the representative of the tensors that share a grid with ``name``."""
        while self._parent.get(name, name) != name:
            name = self._parent[name]
        return name

    def unite(self, first: str, second: str) -> None:
        """Put two tensors on one grid."""
        a, b = self.group(first), self.group(second)
        if a != b:
            keep, drop = (b, a) if b in self.fixed else (a, b)
            self._parent[drop] = keep

    def is_fixed(self, name: str) -> bool:
        """Say whether the grid of ``name`` is fixed."""
        return self.group(name) in self.fixed

    def hulls(self, ranges: Mapping[str, Range]) -> dict[str, Range]:
        """Return the range of every group that is not fixed: the hull of its members' clamped ``ranges``."""
        hulls: dict[str, Range] = {}
        for name, (low, high) in ranges.items():
            bound_low, bound_high = self.clamps.get(name, (low, high))
            clamped = (max(low, bound_low), min(high, bound_high))
            root = self.group(name)
            before = hulls.get(root, clamped)
            hulls[root] = (min(before[0], clamped[0]), max(before[1], clamped[1]))
        return {root: hull for root, hull in hulls.items() if root not in self.fixed}


def place(graph: FloatGraph) -> Placement:
    """Apply the rules of this module to a float graph in normal form."""
    placement = Placement(fixed={graph.frame: graph.frame_grid})
    for node in _fuse_clamps(graph, placement):
        grid, operands = module_of(node.op).GRID, node.inputs[: module_of(node.op).OPERANDS]
        activations = [name for name in operands if name and name not in node.constants]
        if grid == "shared":
            node = _share(node, activations, placement)
        elif grid == "own":
            placement.own.append(node.output)
        elif grid == "fixed":
            placement.fixed[node.output] = module_of(node.op).FIXED
        placement.nodes.append(node)
    return placement


def _fuse_clamps(graph: FloatGraph, placement: Placement) -> list[FloatNode]:
    readers, writer = graph.readers(), {node.output: index for index, node in enumerate(graph.nodes)}
    nodes: dict[int, FloatNode] = dict(enumerate(graph.nodes))
    for index, node in enumerate(graph.nodes):
        source = writer.get(node.inputs[0], -1) if node.inputs else -1
        if node.op not in CLAMPS or source < 0 or readers[node.inputs[0]] != 1:
            continue
        producer = nodes[source]
        if module_of(producer.op).GRID != "own":
            continue
        low, high = node.bounds()
        before = placement.clamps.pop(producer.output, (float("-inf"), float("inf")))
        placement.clamps[node.output] = (max(low, before[0]), min(high, before[1]))
        placement.fused[producer.name] = (*placement.fused.get(producer.name, ()), node.name)
        shapes = {**producer.shapes, node.output: node.output_shape}
        nodes[source] = replace(producer, output=node.output, shapes=shapes)
        writer[node.output] = source
        del nodes[index]
    return [nodes[index] for index in sorted(nodes)]


def _share(node: FloatNode, activations: list[str], placement: Placement) -> FloatNode:
    if len(activations) > 1 and not _one_fixed_grid(activations, placement):
        apart = [name for name in activations if placement.is_fixed(name)] + _halves(activations, placement)
        renamed = {name: _requantised(node, name, placement) for name in apart}
        node = replace(
            node,
            inputs=tuple(renamed.get(name, name) for name in node.inputs),
            shapes={renamed.get(name, name): shape for name, shape in node.shapes.items()},
        )
        activations = [renamed.get(name, name) for name in activations]
    for name in activations:
        placement.unite(name, node.output)
    return node


def _halves(names: list[str], placement: Placement) -> list[str]:
    """Return those of ``names`` on whose grid stands a mean or product that rule 5 keeps from that of its input."""
    groups = {placement.group(name) for name in names if not placement.is_fixed(name)}
    apart = set()
    for node in placement.nodes:
        inputs = {placement.group(name) for name in node.inputs if name and name not in node.constants}
        own = inputs - set(placement.fixed)
        divides = node.op == "ReduceMean" or (node.op == "Mul" and own != inputs)
        output = placement.group(node.output)
        if divides and output in groups and own & groups and output not in own:
            apart.add(output)
    return [name for name in names if placement.group(name) in apart]


def _one_fixed_grid(names: list[str], placement: Placement) -> bool:
    grids = {placement.fixed.get(placement.group(name)) for name in names}
    return len(grids) == 1 and None not in grids


def _requantised(node: FloatNode, name: str, placement: Placement) -> str:
    """Add a Requantize in front of ``node`` and return its output's name."""
    output = f"{name}/requantised/{node.output}"
    shape = node.shapes[name]
    placement.nodes.append(
        FloatNode(output, "Requantize", (name,), output, {}, {}, {name: shape, output: shape}),
    )
    placement.own.append(output)
    placement.copies[output] = name
    return output
