"""Spell global pooling as a reduction."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, constant, graph_of, operand, shape_of, substitute

REDUCTIONS = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


class GlobalPoolToReduce(NodePass):
    """Turn global pooling into a reduction over all spatial axes.

    Given::

        x [N, C, H, W] -> GlobalAveragePool -> y [N, C, 1, 1]

    Result::

        x [N, C, H, W] -> ReduceMean(axes = 2, 3, keepdims = 1) -> y [N, C, 1, 1]

    GlobalMaxPool becomes ReduceMax in the same way.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Rewrite one global pool."""
        if node.op_type not in REDUCTIONS:
            return False
        value = operand(node, 0)
        axes = np.arange(2, len(shape_of(value)), dtype=np.int64)
        inputs = [value, constant(graph_of(node), f"{node.name}/axes", axes)]
        substitute(node, REDUCTIONS[node.op_type], inputs, {"keepdims": 1})
        return True
