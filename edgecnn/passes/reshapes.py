"""Spell everything that keeps the order of the elements as Reshape."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import (
    NodePass,
    absorb,
    constant,
    graph_of,
    integers,
    operand,
    shape_of,
    sole_reader,
    substitute,
)

KINDS = ("Flatten", "Squeeze", "Unsqueeze", "Expand", "Reshape")


class ReshapesToReshape(NodePass):
    """Turn Flatten, Squeeze, Unsqueeze and Reshape with 0 or -1 into Reshape to the static shape.

    Given::

        x [1, 64, 1, 1] -> Flatten -> y [1, 64]

    Result::

        x [1, 64, 1, 1] -> Reshape(shape = 1, 64) -> y [1, 64]

    Rules:
        S1. The shape is the one inferred for the output; it is static by the import's promise.
        S2. A Reshape that only another Reshape reads merges into it.
        S3. Expand is a Reshape where it repeats nothing; otherwise it stays, and is refused later.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply S1 to S3 to one node."""
        if node.op_type not in KINDS:
            return False
        value, shape = operand(node, 0), shape_of(node.outputs[0])
        if int(np.prod(shape_of(value))) != int(np.prod(shape)):
            return False
        inner = value.producer()
        if inner is not None and inner.op_type == "Reshape" and sole_reader(value) is node:
            absorb(node, inner)
            value = operand(inner, 0)
        elif node.op_type == "Reshape" and integers(node, 1) == shape and not node.attributes:
            return False
        target = constant(graph_of(node), f"{node.name}/shape", np.asarray(shape, np.int64))
        substitute(node, "Reshape", [value, target])
        return True
