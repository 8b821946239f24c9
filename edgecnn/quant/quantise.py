"""Turn a float graph in normal form and observed ranges into the canonical integer graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edgecnn.affine import grid_for_range, quantise
from edgecnn.exact_sums import Rows
from edgecnn.integer_graph import Array, Attribute, IntegerGraph, IntegerNode
from edgecnn.ops import FloatNode
from edgecnn.quant import portable
from edgecnn.quant.float_graph import FloatGraph
from edgecnn.quant.placement import CLAMPS, Placement, Range, module_of
from edgecnn.quant.settle import constant_label, settle
from edgecnn.quant.weights import bias_grid, channels_first, quantise_weight, weight_grid, weight_scales
from edgecnn.tensor import QuantParams, TensorSpec

FULL = (0, 255)


@dataclass
class Builder:
    """Collects the integer graph while the float nodes are walked.

    Attributes:
        placement: Groups of tensors and clamps.
        grids: Grid by group, and by label of a constant that `edgecnn.quant.settle` gave one.
        weight_range: ``"minmax"`` or ``"mse"``.
    """

    placement: Placement
    grids: Mapping[str, QuantParams]
    weight_range: str
    nodes: list[IntegerNode] = field(default_factory=list)
    tensors: dict[str, TensorSpec] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)

    def grid(self, name: str) -> QuantParams:
        """Return the grid that tensor ``name`` stands on."""
        return self.grids[self.placement.group(name)]

    def activation(self, name: str, shape: tuple[int, ...], indices: bool = False) -> TensorSpec:
        """Declare an activation, or int64 ``indices``."""
        spec = TensorSpec(name, shape, "int64") if indices else TensorSpec(name, shape, "uint8", self.grid(name))
        self.tensors[name] = spec
        return spec

    def constant(self, name: str, array: Array, quant: QuantParams) -> str:
        """Add an integer constant and return its name."""
        self.constants[name] = array
        self.tensors[name] = TensorSpec(name, array.shape, array.dtype.name, quant)
        return name

    def add(self, node: FloatNode) -> None:
        """Add one float node as an integer node, followed by a Clip where the grid does not make its clamp."""
        module = module_of(node.op)
        grid = None if module.GRID == "none" else self.grid(node.output)
        operands = self._operands(node, module.OPERANDS)
        if node.op == "LeakyRelu":
            alpha = portable.slope(node.number("alpha", 0.01), self.grid(node.inputs[0]), self.grid(node.output))
            node = replace(node, given={"alpha": alpha})
        attributes: dict[str, Attribute] = module.attributes(node, grid)
        spec = self.activation(node.output, node.output_shape, indices=grid is None)
        source = (node.name, *self.placement.fused.get(node.name, ()))
        clamp = self._clamp(node)
        raw = node.output if clamp == FULL else f"{node.output}/unclamped"
        op = "Clip" if node.op in CLAMPS else node.op
        self.nodes.append(IntegerNode(node.name, op, operands, raw, attributes, source))
        if raw != node.output:
            self.tensors[raw] = TensorSpec(raw, spec.shape, spec.dtype, spec.quant)
            ends: dict[str, Attribute] = {"low": clamp[0], "high": clamp[1]}
            self.nodes.append(IntegerNode(f"{node.name}/clamp", "Clip", (raw,), node.output, ends, source[1:]))

    def _clamp(self, node: FloatNode) -> tuple[int, int]:
        if node.output not in self.placement.clamps:
            return FULL
        bounds = np.asarray(self.placement.clamps[node.output], np.float32)
        low, high = quantise(bounds, self.grid(node.output), "uint8")
        return int(low), int(high)

    def _operands(self, node: FloatNode, count: int | None) -> tuple[str, ...]:
        if hasattr(module_of(node.op), "WEIGHT_AXIS"):
            return self._weighted(node)
        names = node.inputs[:count]
        return tuple(self._constant_operand(node, name) if name in node.constants else name for name in names)

    def _constant_operand(self, node: FloatNode, name: str) -> str:
        values, label = node.constants[name].astype(np.float32), constant_label(name, node)
        ends, target = (float(values.min()), float(values.max())), self.grid(node.output)
        if node.op == "PRelu":
            grid = portable.slope_grid(values, self.grid(node.inputs[0]), target)
            return self.constant(label, quantise(values, grid, "int8"), grid)
        if label in self.grids:
            grid = self.grids[label]
        elif node.op == "Mul":
            source = next(self.grid(other) for other in node.inputs if other not in node.constants)
            grid = portable.constant_grid(ends, source, target)
        else:
            grid = target
        return self.constant(label, quantise(values, grid, "uint8"), grid)

    def _weighted(self, node: FloatNode) -> tuple[str, ...]:
        axis = weight_axis(node)
        weight, bias = float_parameters(node)
        layout = Rows(node.op, node.integer("group", 1), weight.shape)
        rows = channels_first(weight, layout)
        source, target = self.grid(node.inputs[0]), self.grid(node.output)
        scales = weight_scales(rows, layout.partners(), self.weight_range)
        grid = weight_grid(scales, axis, rows, bias, source, target)
        grid = QuantParams.per_channel(portable.weight_scales(grid.scales.astype(np.float64), source, target), axis)
        sums = bias_grid(source, grid)
        return (
            node.inputs[0],
            self.constant(f"{node.output}/weight", quantise_weight(weight, grid, layout), grid),
            self.constant(f"{node.output}/bias", quantise(bias, sums, "int32"), sums),
        )


def weight_axis(node: FloatNode) -> int:
    """Return the axis of a weight that runs along the output channels.

    A depthwise ConvTranspose, weight (C, 1, kh, kw), has as many outputs as inputs: there the first axis does.
    """
    axis: int = module_of(node.op).WEIGHT_AXIS
    return 0 if node.integer("group", 1) > 1 else axis


def float_parameters(node: FloatNode) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return weight and bias of a Conv, ConvTranspose or Gemm; a missing bias is zeros of shape (channels,)."""
    weight = node.constants[node.inputs[1]].astype(np.float32)
    channels = weight.shape[weight_axis(node)]
    if len(node.inputs) > 2 and node.inputs[2]:
        return weight, node.constants[node.inputs[2]].astype(np.float32).ravel()
    return weight, np.zeros(channels, np.float32)


def constant_ranges(placement: Placement) -> dict[str, Range]:
    """Return the ranges of constants (and fills) that operators with a shared grid bring into their group."""
    ranges = {}
    for node in placement.nodes:
        if module_of(node.op).GRID != "shared" or node.op in CLAMPS:
            continue
        values = [node.constants[name] for name in node.inputs[: module_of(node.op).OPERANDS] if name in node.constants]
        values += [np.asarray(node.fill())] if node.op == "Pad" else []
        if values:
            ranges[node.output] = (min(float(v.min()) for v in values), max(float(v.max()) for v in values))
    return ranges


def to_integers(
    graph: FloatGraph,
    placement: Placement,
    ranges: Mapping[str, Range],
    weight_range: str = "minmax",
    progress: Callable[[], None] = lambda: None,
) -> IntegerGraph:
    """Build the canonical integer graph.

    Args:
        graph: The float graph.
        placement: Result of `edgecnn.quant.placement.place` on it.
        ranges: Chosen range (low, high) in real values of every tensor in ``placement.own``.
        weight_range: ``"minmax"`` or ``"mse"``.
        progress: Called once a node.
    """
    seen = dict(ranges)
    for name, (low, high) in constant_ranges(placement).items():
        before = seen.get(name, (low, high))
        seen[name] = (min(before[0], low), max(before[1], high))
    hulls = placement.hulls(seen)
    grids = {root: grid_for_range(*hull) for root, hull in hulls.items()} | placement.fixed
    builder = Builder(placement, settle(placement, hulls, grids), weight_range)
    builder.activation(graph.frame, graph.shapes[graph.frame])
    for node in placement.nodes:
        builder.add(node)
        progress()
    return IntegerGraph(
        graph.name, (graph.frame,), graph.outputs, tuple(builder.nodes), builder.tensors, builder.constants
    )
