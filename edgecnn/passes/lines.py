"""Spell layers on lines (rank 3) as layers on pictures of height 1."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    Attribute,
    NodePass,
    array,
    constant,
    graph_of,
    insert,
    operand,
    optional,
    replace,
    reshape,
    shape_of,
)

LAYERS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}


class LinesToPictures(NodePass):
    """Lift one-dimensional layers to two dimensions.

    Given::

        x [N, C, L] -> Conv(W [O, C, k], pads = (a, b)) -> y [N, O, M]

    Result::

        x -> Reshape [N, C, 1, L] -> Conv(W [O, C, 1, k], pads = (0, a, 0, b)) -> Reshape [N, O, M] -> y

    Rules:
        Y1. Conv, ConvTranspose, MaxPool and AveragePool of rank 3, with a constant weight where they have one. The new
            axis has size, kernel and stride 1, and no padding: every output element is the same sum.
        Y2. The Reshapes keep the order of the elements and cost nothing on integers; two in a row merge later.

    Requires: the folds are done. Ensures: layers on lines are gone, where their weights are constant.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply Y1 to one node."""
        if node.op_type not in LAYERS or len(shape_of(operand(node, 0))) != 3:
            return False
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            return False
        weight = array(optional(node, 1))
        if node.op_type.startswith("Conv") and weight is None:
            return False
        value = operand(node, 0)
        inputs: list[ir.Value | None] = [reshape(node, value, _lifted(shape_of(value)), "Picture")]
        if weight is not None:
            inputs.append(constant(graph_of(node), f"{node.name}/weight", weight[:, :, np.newaxis, :]))
            inputs.extend(node.inputs[2:])
        shape = shape_of(node.outputs[0])
        result = insert(node, node.op_type, inputs, _lifted(shape), _attributes(node), suffix="Line")
        replace(node, reshape(node, result, shape, "Flat"))
        return True


def _lifted(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[0], shape[1], 1, shape[2]


def _attributes(node: ir.Node) -> dict[str, Attribute]:
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    for name, neutral in PER_AXIS.items():
        if name in given:
            given[name] = (neutral, *given[name])
    if "pads" in given:
        begin, end = given["pads"]
        given["pads"] = (0, begin, 0, end)
    if "output_shape" in given:
        given["output_shape"] = (1, given["output_shape"][-1])
    return given
