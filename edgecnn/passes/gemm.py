"""Spell every product with a constant matrix as Gemm with transB = 1 and a bias."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgecnn.passes.channel_affine import F64
from edgecnn.passes.rewrite import (
    NodePass,
    absorb,
    array,
    constant,
    graph_of,
    insert,
    is_absent_or_constant,
    operand,
    optional,
    replace,
    reshape,
    shape_of,
    sole_reader,
)


class MatMulToGemm(NodePass):
    """Bring MatMul and Gemm with a constant matrix into one form.

    Given::

        x [..., K] -> MatMul(W [K, N]) -> Add(b [N]) -> y [..., N]

    Result::

        x [..., K] -> (Reshape [M, K] ->) Gemm(W^T [N, K], b, transB = 1) (-> Reshape [..., N]) -> y

    Rules:
        G1. MatMul by a constant matrix of rank 2; the bias is 0.
        G2. Gemm with constant B and C: alpha goes into the weight, beta into the bias, transB becomes 1. A data input
            that is transposed (transA) stays, and is refused later.
        G3. A bias that is added right behind, of shape [N] or [1, ..., N], is merged by a later pass (see fold_affine);
            behind a Reshape it is merged here.
        G4. ONNX's Gemm takes rank 2: other ranks are reshaped, which costs nothing on integers.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply G1 to G4 to one node."""
        if node.op_type == "MatMul":
            return self._matmul(node)
        return node.op_type == "Gemm" and self._gemm(node)

    def _matmul(self, node: ir.Node) -> bool:
        weight = array(operand(node, 1))
        if weight is None or weight.ndim != 2 or len(shape_of(operand(node, 0))) < 2:
            return False
        bias = np.zeros(weight.shape[1])
        addition = _bias_behind(node, weight.shape[1])
        if addition is not None:
            bias = addition[1]
        _place(node, weight.astype(np.float64).T, bias)
        if addition is not None:
            _drop(addition[0])
        return True

    def _gemm(self, node: ir.Node) -> bool:
        weight = array(operand(node, 1))
        if weight is None or node.attributes.get_int("transA", 0) == 1 or not is_absent_or_constant(node, 2):
            return False
        if _is_normal(node):
            return False
        matrix = weight.astype(np.float64) * node.attributes.get_float("alpha", 1.0)
        matrix = matrix if node.attributes.get_int("transB", 0) else matrix.T
        content = array(optional(node, 2))
        bias = np.zeros(1) if content is None else content.astype(np.float64) * node.attributes.get_float("beta", 1.0)
        if bias.size not in (1, matrix.shape[0]) or (bias.ndim == 2 and bias.shape[0] != 1):
            return False
        _place(node, matrix, np.broadcast_to(bias.reshape(-1), (matrix.shape[0],)))
        return True


def _is_normal(node: ir.Node) -> bool:
    bias = optional(node, 2)
    if bias is None or shape_of(bias) != (shape_of(operand(node, 1))[0],):
        return False
    attributes = node.attributes
    scaled = attributes.get_float("alpha", 1.0) != 1.0 or attributes.get_float("beta", 1.0) != 1.0
    return attributes.get_int("transB", 0) == 1 and not scaled


def _bias_behind(node: ir.Node, channels: int) -> tuple[ir.Node, F64] | None:
    """Return the Add of a constant along the last axis that alone reads ``node``, and the constant."""
    addition = sole_reader(node.outputs[0])
    if addition is None or addition.op_type != "Add" or shape_of(addition.outputs[0]) != shape_of(node.outputs[0]):
        return None
    other = operand(addition, 1) if operand(addition, 0) is node.outputs[0] else operand(addition, 0)
    content = array(other)
    if content is None or content.size not in (1, channels) or content.shape[-1:] not in ((), (1,), (channels,)):
        return None
    return addition, np.broadcast_to(content.astype(np.float64).reshape(-1), (channels,))


def _drop(addition: ir.Node) -> None:
    data = operand(addition, 0) if array(operand(addition, 0)) is None else operand(addition, 1)
    layer = data.producer()
    if layer is not None:
        absorb(layer, addition)
    replace(addition, data)


def _place(node: ir.Node, weight: F64, bias: F64) -> None:
    graph, value = graph_of(node), operand(node, 0)
    shape, rows = shape_of(node.outputs[0]), math.prod(shape_of(value)[:-1])
    flat = value if len(shape) == 2 else reshape(node, value, (rows, weight.shape[1]), "Flat")
    matrix = constant(graph, f"{node.name}/weight", weight.astype(np.float32))
    vector = constant(graph, f"{node.name}/bias", bias.astype(np.float32))
    result = insert(node, "Gemm", [flat, matrix, vector], (rows, weight.shape[0]), {"transB": 1})
    replace(node, result if len(shape) == 2 else reshape(node, result, shape, "Unflat"))
