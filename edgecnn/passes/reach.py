"""Tell logits from probabilities by the values that an output can take at all.

A Sigmoid or Softmax is seldom the last node: layouts change behind it, maps are enlarged, axes vanish. And a hard
sigmoid is a Clip by the time the passes are done. So the operators are walked through in order, with the interval that
their values lie in whatever the picture shows (interval arithmetic: Moore 1966, "Interval Analysis").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.passes.clips import clamp_bounds
from edgecnn.passes.rewrite import array, operand

PROBABILITIES = "probabilities"
ROUNDING = 1e-3
"""How far constants such as 1/3 may leave a sum of probabilities above 1."""


@dataclass(frozen=True)
class Reach:
    """The interval that a tensor's values cannot leave.

    Attributes:
        low: Its lower end, minus infinity where there is none.
        high: Its upper end, likewise.
        squashed: Whether a Sigmoid or Softmax made the values, however they were scaled since.
    """

    low: float = -math.inf
    high: float = math.inf
    squashed: bool = False

    @property
    def meaning(self) -> str:
        """``"probabilities"`` within 0..1, ``"raw"`` for such on another scale (0..255), else ``"logits"``."""
        if self.low >= -ROUNDING and self.high <= 1 + ROUNDING:
            return PROBABILITIES
        scaled = self.squashed and self.low >= -ROUNDING and self.high < math.inf
        return "raw" if scaled else "logits"


Rule = Callable[[ir.Node, list[Reach]], Reach]
ANYTHING = Reach()
MOVES = (
    "AveragePool",
    "Concat",
    "DepthToSpace",
    "MaxPool",
    "ReduceMax",
    "ReduceMean",
    "Reshape",
    "Resize",
    "Slice",
    "Transpose",
)
"""What only moves, chooses or averages values; pools do not count their padding, and a Resize is nearest or linear."""


def reaches(model: ir.Model) -> dict[ir.Value, Reach]:
    """Return how far the values of what every node writes can reach.

    Args:
        model: A float graph in normal form.
    """
    found: dict[ir.Value, Reach] = {}
    for node in model.graph:
        rule = RULES.get(node.op_type)
        found[node.outputs[0]] = ANYTHING if rule is None else rule(node, _operands(node, found))
    return found


def meanings(model: ir.Model) -> dict[str, str]:
    """Return what each output's values can be taken for, by its name; the model is in normal form."""
    found = reaches(model)
    return {str(value.name): found.get(value, ANYTHING).meaning for value in model.graph.outputs}


def _operands(node: ir.Node, reaches: Mapping[ir.Value, Reach]) -> list[Reach]:
    """Return the reach of every input; shapes, axes and bounds are among them, behind the data."""
    found = []
    for value in node.inputs:
        content = array(value)
        if content is not None and content.size:
            found.append(Reach(float(content.min()), float(content.max())))
        else:
            found.append(ANYTHING if value is None else reaches.get(value, ANYTHING))
    return found


def _hull(reaches: list[Reach]) -> Reach:
    squashed = any(item.squashed for item in reaches)
    return Reach(min(item.low for item in reaches), max(item.high for item in reaches), squashed)


def _same(node: ir.Node, reaches: list[Reach]) -> Reach:
    return _hull(reaches) if node.op_type == "Concat" else reaches[0]


def _squash(node: ir.Node, reaches: list[Reach]) -> Reach:
    return Reach(0.0, 1.0, squashed=True)


def _tanh(node: ir.Node, reaches: list[Reach]) -> Reach:
    return Reach(-1.0, 1.0)


def _clamp(node: ir.Node, reaches: list[Reach]) -> Reach:
    bounds = clamp_bounds(node)
    if bounds is None:
        return reaches[0]
    low, high = (min(max(end, bounds[0]), bounds[1]) for end in (reaches[0].low, reaches[0].high))
    return Reach(low, high, reaches[0].squashed)


def _pad(node: ir.Node, reaches: list[Reach]) -> Reach:
    if node.attributes.get_string("mode", "constant") != "constant":
        return reaches[0]
    fill = reaches[2] if len(node.inputs) > 2 and node.inputs[2] is not None else Reach(0.0, 0.0)
    return _hull([reaches[0], fill])


def _sum(node: ir.Node, reaches: list[Reach]) -> Reach:
    first, second = reaches
    return Reach(first.low + second.low, first.high + second.high, first.squashed or second.squashed)


def _difference(node: ir.Node, reaches: list[Reach]) -> Reach:
    first, second = reaches
    return Reach(first.low - second.high, first.high - second.low, first.squashed or second.squashed)


def _product(node: ir.Node, reaches: list[Reach]) -> Reach:
    """The ends' products; 0 times an open end is 0, because no value is infinite itself."""
    first, second = reaches
    ends = [a * b if a and b else 0.0 for a in (first.low, first.high) for b in (second.low, second.high)]
    return Reach(min(ends), max(ends), first.squashed or second.squashed)


def _layer(node: ir.Node, reaches: list[Reach]) -> Reach:
    """A scale and a shift per channel, which the passes spell as a depthwise 1x1 Conv; any other layer says nothing."""
    scale, shift = (array(operand(node, index)) if index < len(node.inputs) else None for index in (1, 2))
    if scale is None or shift is None or scale.shape[1:] != (1, 1, 1) or node.attributes.get_int("group", 1) == 1:
        return ANYTHING
    factors, offsets = scale.astype(np.float64).ravel(), shift.astype(np.float64).ravel()
    rows = [Reach(float(a), float(a)) for a in factors]
    scaled = [_product(node, [reaches[0], row]) for row in rows]
    return _hull([_sum(node, [row, Reach(float(b), float(b))]) for row, b in zip(scaled, offsets, strict=True)])


RULES: dict[str, Rule] = {
    **dict.fromkeys(MOVES, _same),
    **dict.fromkeys(("Sigmoid", "Softmax"), _squash),
    **dict.fromkeys(("Clip", "Relu"), _clamp),
    "Add": _sum,
    "Conv": _layer,
    "Mul": _product,
    "Pad": _pad,
    "Sub": _difference,
    "Tanh": _tanh,
}
