"""Spell hard sigmoid and hard swish with operators that every target has."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.clips import clamp_bounds
from edgecnn.passes.rewrite import (
    NodePass,
    absorb,
    array,
    constant,
    graph_of,
    insert,
    operand,
    shape_of,
    sole_reader,
    substitute,
)


class HardActivations(NodePass):
    """Turn HardSigmoid and HardSwish into a scale, a shift and a Clip.

    Given::

        x -> HardSwish -> y

    Result::

        x -+-> Mul(1/6) -> Add(1/2) -> Clip(0, 1) -+-> Mul -> y
           +---------------------------------------+

    Rules:
        H1. HardSigmoid is ``clip(alpha * x + beta, 0, 1)`` (ONNX HardSigmoid-6).
        H2. HardSwish is ``x * clip(x / 6 + 1 / 2, 0, 1)`` (ONNX HardSwish-14).
        H3. ``clip(x + c, a, b) * s`` with a number s > 0 is ``clip(x * s + c * s, a * s, b * s)``: so the hard sigmoid
            that older exporters write with Relu6 becomes that of H1.
        H4. ``(x * clip(x + c, a, b)) * s`` takes the factor s to the clip first, then H3.

    The scale and the shift merge with a layer, or become a depthwise 1x1 Conv (see `FoldAffine`, `AffineToConv`).

    Requires: a constant stands second in Add and Mul; clamps are Clips.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply H1 to H4 to one node."""
        if node.op_type == "HardSigmoid":
            alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
            substitute(node, "Clip", _clip_inputs(node, operand(node, 0), (alpha, beta), (0.0, 1.0)))
            return True
        if node.op_type == "HardSwish":
            value = operand(node, 0)
            gate = insert(node, "Clip", _clip_inputs(node, value, (1 / 6, 0.5), (0.0, 1.0)), shape_of(value))
            substitute(node, "Mul", [value, gate])
            return True
        return node.op_type == "Mul" and self._scaled(node)

    def _scaled(self, node: ir.Node) -> bool:
        factor, inner = _positive_number(node), operand(node, 0).producer()
        if factor is None or inner is None or sole_reader(inner.outputs[0]) is not node:
            return False
        if _shifted_clip(inner) is not None:
            substitute(node, "Clip", _rescaled(node, inner, factor))
            return True
        if inner.op_type != "Mul" or shape_of(inner.outputs[0]) != shape_of(node.outputs[0]):
            return False
        gates = [index for index in (0, 1) if _is_gate(inner, index)]
        if not gates:
            return False
        gate, other = operand(inner, gates[0]), operand(inner, 1 - gates[0])
        clip = gate.producer()
        if clip is None:
            return False
        scaled = insert(node, "Clip", _rescaled(node, clip, factor), shape_of(gate))
        absorb(node, inner)
        substitute(node, "Mul", [other, scaled])
        return True


def _is_gate(product: ir.Node, index: int) -> bool:
    clip = operand(product, index).producer()
    return clip is not None and sole_reader(clip.outputs[0]) is product and _shifted_clip(clip) is not None


def _positive_number(node: ir.Node) -> float | None:
    content = array(node.inputs[1])
    if content is None or content.size != 1 or shape_of(operand(node, 0)) != shape_of(node.outputs[0]):
        return None
    number = float(content.astype(np.float64).reshape(-1)[0])
    return number if number > 0 else None


def _shifted_clip(node: ir.Node) -> tuple[ir.Value, float] | None:
    """Return x and c of ``Clip(x + c)`` with a number c that nobody else reads; None for any other node."""
    if node.op_type != "Clip" or clamp_bounds(node) is None or len(node.inputs) < 3 or node.inputs[1] is None:
        return None
    addition = operand(node, 0).producer()
    if addition is None or addition.op_type != "Add" or sole_reader(addition.outputs[0]) is not node:
        return None
    content = array(addition.inputs[1])
    if content is None or content.size != 1 or shape_of(operand(addition, 0)) != shape_of(addition.outputs[0]):
        return None
    return operand(addition, 0), float(content.astype(np.float64).reshape(-1)[0])


def _rescaled(node: ir.Node, clip: ir.Node, factor: float) -> list[ir.Value]:
    """Return the inputs of a Clip that does the work of ``clip`` times ``factor``."""
    shifted, bounds = _shifted_clip(clip), clamp_bounds(clip)
    if shifted is None or bounds is None:
        raise ValueError(f"{clip.op_type} '{clip.name}' is no clip of a shifted value")
    absorb(node, clip)
    value, shift = shifted
    return _clip_inputs(node, value, (factor, shift * factor), (bounds[0] * factor, bounds[1] * factor))


def _clip_inputs(
    node: ir.Node, value: ir.Value, affine: tuple[float, float], bounds: tuple[float, float]
) -> list[ir.Value]:
    """Insert ``value * affine[0] + affine[1]`` before ``node`` and return it with the bounds as constants."""
    graph, shape = graph_of(node), shape_of(value)
    names = ("scale", "shift", "min", "max")
    scale, shift, low, high = (
        constant(graph, f"{node.name}/{name}", np.asarray(number, np.float32))
        for name, number in zip(names, (*affine, *bounds), strict=True)
    )
    scaled = insert(node, "Mul", [value, scale], shape, suffix="Scale")
    return [insert(node, "Add", [scaled, shift], shape, suffix="Shift"), low, high]
