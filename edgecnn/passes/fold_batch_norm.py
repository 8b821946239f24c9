"""Fold batch normalisation into its neighbours, and report every fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.errors import ModelError
from edgecnn.passes.channel_affine import (
    ChannelAffine,
    merge_into_producer,
    merge_into_readers,
    why_not_into_producer,
    why_not_into_readers,
)
from edgecnn.passes.rewrite import NodePass, array, operand, replace

DEFAULT_EPSILON = 1e-5


@dataclass(frozen=True)
class Fold:
    """One batch normalisation that is gone.

    Attributes:
        batch_norm: Name of the BatchNormalization node.
        into: Names of the layers it was merged into.
        before: The operators before, e.g. ``"Conv -> BatchNormalization"``.
        after: The operators after, e.g. ``"Conv"``.
    """

    batch_norm: str
    into: tuple[str, ...]
    before: str
    after: str


@dataclass(frozen=True)
class Unfolded:
    """One batch normalisation that could not be merged exactly, and why."""

    batch_norm: str
    reason: str


@dataclass(frozen=True)
class FoldReport:
    """What became of every batch normalisation of the model."""

    folds: tuple[Fold, ...] = ()
    unfolded: tuple[Unfolded, ...] = ()


class FoldBatchNorm(NodePass):
    """Merge batch normalisation into the layer before it, else into the layers behind it.

    Given::

        x -> Conv(W, b) -> BatchNormalization(gamma, beta, mean, var) -> y

    Result::

        x -> Conv(W * a, b * a + beta - mean * a) -> y        with a = gamma / sqrt(var + epsilon)

    Rules:
        F1. Behind a Conv, ConvTranspose or Gemm with constant parameters whose output nobody else reads.
        F2. Else before Conv or Gemm only, and where a Conv pads, only with a shift of zero: padding is 0 behind the
            normalisation, and would be something else in front of it.
        F3. Weights shared with other layers are copied, never changed.
        F4. What is left stays a BatchNormalization; the reason is reported, and a later pass makes it a depthwise
            1x1 Conv, which is exact.

    Requires: Gemm with transB=1, alpha=beta=1; explicit pads.
    Ensures: `report` names every BatchNormalization once.

    Source: Ioffe and Szegedy 2015, "Batch Normalization", algorithm 2.
    """

    def __init__(self) -> None:
        self._folds: list[Fold] = []
        self._unfolded: list[Unfolded] = []

    @property
    def report(self) -> FoldReport:
        """What the pass has done so far."""
        return FoldReport(tuple(self._folds), tuple(self._unfolded))

    def rewrite(self, node: ir.Node) -> bool:
        """Apply F1 to F4 to one node."""
        if node.op_type != "BatchNormalization":
            return False
        affine = batch_norm_affine(node)
        if affine is None:
            return self._keep(node, "its scale, bias, mean or variance is not constant, or its statistics are read")
        before = why_not_into_producer(node)
        if before is None:
            return self._fold(node, [merge_into_producer(node, affine)], behind=True)
        behind = why_not_into_readers(node, affine)
        if behind is None:
            return self._fold(node, merge_into_readers(node, affine), behind=False)
        return self._keep(node, f"{before}; {behind}")

    def _fold(self, node: ir.Node, layers: list[ir.Node], behind: bool) -> bool:
        kinds = ", ".join(dict.fromkeys(layer.op_type for layer in layers))
        before = f"{kinds} -> BatchNormalization" if behind else f"BatchNormalization -> {kinds}"
        names = tuple(layer.name or "" for layer in layers)
        self._folds.append(Fold(node.name or "", names, before, kinds))
        replace(node, operand(node, 0))
        return True

    def _keep(self, node: ir.Node, reason: str) -> bool:
        self._unfolded.append(Unfolded(node.name or "", reason))
        return False


def batch_norm_affine(node: ir.Node) -> ChannelAffine | None:
    """Return the map of a BatchNormalization in inference; None if a parameter is computed or its statistics are read.

    Source: ONNX BatchNormalization-15: ``Y = (X - mean) / sqrt(var + epsilon) * scale + B``.

    Raises:
        ModelError: If a variance has no root to divide by.
    """
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return None
    values = [array(operand(node, index)) for index in range(1, 5)]
    gamma, beta, mean, variance = (None if value is None else value.astype(np.float64) for value in values)
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    squares = variance + node.attributes.get_float("epsilon", DEFAULT_EPSILON)
    bad = int((squares <= 0).sum())
    if bad:
        raise ModelError(
            f"BatchNormalization '{node.name}': variance + epsilon must be positive, but is not in {bad} of "
            f"{squares.size} channels; the smallest variance is {variance.min():g}. The file is damaged or training "
            "has diverged: take another checkpoint."
        )
    scale = gamma / np.sqrt(squares)
    return ChannelAffine(scale, beta - mean * scale)
