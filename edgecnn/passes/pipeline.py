"""The passes in their order, and `normalise`, which runs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgecnn.errors import ModelError
from edgecnn.passes.affine_to_conv import AffineToConv
from edgecnn.passes.arithmetic import ArithmeticToAddMul
from edgecnn.passes.channel_order import ChannelOrderToWeights
from edgecnn.passes.clips import ClampsToClip
from edgecnn.passes.fold_affine import FoldAffine
from edgecnn.passes.fold_batch_norm import FoldBatchNorm, FoldReport
from edgecnn.passes.fold_pad import FoldPad
from edgecnn.passes.gemm import MatMulToGemm
from edgecnn.passes.global_pool import GlobalPoolToReduce
from edgecnn.passes.hard_activations import HardActivations
from edgecnn.passes.indices import IndicesLast
from edgecnn.passes.layer_attributes import ExplicitLayerAttributes
from edgecnn.passes.lines import LinesToPictures
from edgecnn.passes.normal_form import check_normal_form
from edgecnn.passes.pads import ExplicitPads
from edgecnn.passes.reduces import ExplicitReductions
from edgecnn.passes.remove_identity import RemoveIdentity
from edgecnn.passes.reshapes import ReshapesToReshape
from edgecnn.passes.resizes import ExplicitResize
from edgecnn.passes.rewrite import array
from edgecnn.passes.slices import CutsToSlice
from edgecnn.passes.slopes import ChannelSlopes
from edgecnn.passes.transposed_groups import TransposedGroupsToDense
from edgecnn.passes.transposes import JoinTransposes


@dataclass(frozen=True)
class Report:
    """What `normalise` did.

    Attributes:
        passes: Names of the passes that changed something, in order.
        batch_norm: What became of every batch normalisation.
    """

    passes: tuple[str, ...]
    batch_norm: FoldReport


def pipeline(fold: FoldBatchNorm) -> list[ir.passes.InPlacePass]:
    """Return the passes in order; each line says why it stands where it does."""
    return [
        RemoveIdentity(),  # first: an Identity or Dropout between two layers hides every pattern
        JoinTransposes(),  # early: behind it channels are axis 1, which the folds rely on
        ReshapesToReshape(),  # before all that looks at Reshape
        IndicesLast(),  # behind ReshapesToReshape, which spells Squeeze as it expects
        CutsToSlice(),  # before ChannelOrderToWeights, which takes what is not evenly spaced
        ChannelOrderToWeights(),  # before the folds: it may make a Conv that they can use
        GlobalPoolToReduce(),  # before ExplicitReductions, which drops axes of size 1
        ExplicitReductions(),  # before ArithmeticToAddMul: a sum leaves a Mul
        ArithmeticToAddMul(),  # before the folds, which look for a constant in second place
        ClampsToClip(),  # before HardActivations, which knows Clip only
        HardActivations(),  # before FoldAffine: it leaves a scale and a shift to merge
        MatMulToGemm(),  # before the folds: they know Gemm only
        TransposedGroupsToDense(),  # before the folds, which then meet one kind of ConvTranspose only
        ExplicitLayerAttributes(),  # before the folds: they look at pads
        ExplicitPads(),  # behind ExplicitLayerAttributes: it takes pads out of pools
        ExplicitResize(),  # anywhere: nothing else looks at Resize
        ChannelSlopes(),  # anywhere: nothing else looks at PRelu
        FoldAffine(),  # before FoldBatchNorm: a scale between a Conv and its batch norm would hide the Conv
        fold,
        FoldAffine(),  # again: what stood behind a batch norm stands behind a Conv now
        LinesToPictures(),  # behind the folds: its Reshapes would hide a layer from the batch norm behind it
        ExplicitLayerAttributes(),  # again: for the layers that are pictures only now
        ExplicitPads(),  # again, likewise
        AffineToConv(),  # behind all folds: it makes Convs of what they left
        FoldPad(),  # behind the folds: a Conv that does not pad yet takes the shift of a batch norm before it
        ReshapesToReshape(),  # again: MatMulToGemm and the cuts leave Reshapes in a row
        RemoveIdentity(),  # again: folds and cuts leave Reshapes and Slices that change nothing
        common.RemoveUnusedNodesPass(),  # last but one: nodes and constants that the passes left unread
        common.NameFixPass(),  # last: names are made from names, and may meet
    ]


def normalise(model: ir.Model) -> Report:
    """Rewrite ``model`` in place until it is in normal form.

    Args:
        model: A model that keeps the promises of `edgecnn.graph`.

    Raises:
        UnsupportedError: Naming all nodes that have no normal form.
        ModelError: If the model contradicts itself, e.g. by parameters that do not fit their layer, or its parameters
            leave what float32 can hold when they are merged.
    """
    fold = FoldBatchNorm()
    changed = [type(step).__name__ for step in pipeline(fold) if _run(step, model)]
    check_normal_form(model)
    _check_finite(model.graph)
    return Report(tuple(dict.fromkeys(changed)), fold.report)


def _check_finite(graph: ir.Graph) -> None:
    """Refuse what a fold has made infinite: the import has seen to it that all constants were finite before."""
    for name, value in graph.initializers.items():
        content = array(value)
        if content is not None and content.dtype.kind == "f" and not np.isfinite(content).all():
            raise ModelError(
                f"constant '{name}' is not finite any more once the layers around it are merged: their parameters are "
                "too large together. Training has diverged or the file is damaged: take another checkpoint."
            )


def _run(step: ir.passes.InPlacePass, model: ir.Model) -> bool:
    """Run one pass. What a file that contradicts itself makes a pass stumble over is the model's fault, and says so."""
    try:
        with np.errstate(over="ignore"):  # `_check_finite` names what has overflowed
            return step(model).modified
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise ModelError(f"{type(step).__name__} cannot make sense of the model: {error}. Export it again.") from error
