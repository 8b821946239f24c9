"""Per-channel affine maps ``y = scale * x + shift`` and how they merge into a neighbouring layer.

Batch normalisation in inference, a learned scale and a normalisation of the input are all such maps. The arithmetic
is float64; the result is rounded to float32 once.

Source of the formulas: Jacob et al. 2018, "Quantization and Training of Neural Networks", section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.passes.rewrite import absorb, array, constant, graph_of, operand, optional, shape_of, sole_reader

F64 = npt.NDArray[np.float64]
LAYERS = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class ChannelAffine:
    """The map ``y = scale * x + shift`` along axis 1.

    Attributes:
        scale: float64 of shape (channels,).
        shift: float64 of shape (channels,).
    """

    scale: F64
    shift: F64

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return bool((self.scale == 1).all() and (self.shift == 0).all())

    def then(self, later: ChannelAffine) -> ChannelAffine:
        """Return the map that applies this one first and ``later`` second."""
        return ChannelAffine(later.scale * self.scale, later.scale * self.shift + later.shift)


def parameters(layer: ir.Node) -> tuple[F64, F64] | None:
    """Return weight and bias (zeros where absent) of a Conv, ConvTranspose or Gemm in float64; None if not constant."""
    weight = array(operand(layer, 1))
    bias = optional(layer, 2)
    if weight is None or (bias is not None and array(bias) is None):
        return None
    content = array(bias)
    values = np.zeros(output_channels(layer)) if content is None else content.astype(np.float64).reshape(-1)
    return weight.astype(np.float64), values


def output_channels(layer: ir.Node) -> int:
    """Return the number of output channels of a Conv, ConvTranspose or Gemm with transB=1."""
    shape = shape_of(operand(layer, 1))
    return shape[1] * layer.attributes.get_int("group", 1) if layer.op_type == "ConvTranspose" else shape[0]


def set_parameters(layer: ir.Node, weight: F64, bias: F64) -> None:
    """Give ``layer`` weight and bias of its own; constants that other layers share stay as they are."""
    graph, name = graph_of(layer), layer.name
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    layer.replace_input_with(1, constant(graph, f"{name}/weight", weight.astype(np.float32)))
    layer.replace_input_with(2, constant(graph, f"{name}/bias", bias.astype(np.float32)))


def why_not_into_producer(node: ir.Node) -> str | None:
    """Return why an affine ``node`` cannot merge into the layer before it; None if it can.

    Rules:
        P1. The producer is a Conv, ConvTranspose or Gemm with constant weight and bias.
        P2. Nobody else reads the producer's output, nor does the graph put it out.
    """
    value = operand(node, 0)
    producer = value.producer()
    if producer is None:
        return "it stands directly behind the graph's input"
    if producer.op_type not in LAYERS:
        return f"it stands behind {producer.op_type} '{producer.name}', not behind Conv, ConvTranspose or Gemm"
    if parameters(producer) is None:
        return f"the weight or bias of {producer.op_type} '{producer.name}' is not constant"
    if sole_reader(value) is not node:
        return f"the output of {producer.op_type} '{producer.name}' has other readers"
    return None


def merge_into_producer(node: ir.Node, affine: ChannelAffine) -> ir.Node:
    """Merge into the layer before ``node``: ``W' = scale * W``, ``b' = scale * b + shift``; ``node`` is not removed.

    Returns:
        The layer. `why_not_into_producer` must have returned None.
    """
    layer = operand(node, 0).producer()
    values = None if layer is None else parameters(layer)
    if layer is None or values is None:
        raise ValueError(f"{node.op_type} '{node.name}' cannot merge into its producer")
    weight, bias = values
    set_parameters(layer, _scale_outputs(layer, weight, affine.scale), affine.scale * bias + affine.shift)
    absorb(layer, node)
    return layer


def _scale_outputs(layer: ir.Node, weight: F64, scale: F64) -> F64:
    if layer.op_type != "ConvTranspose":
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    # Weight [C, O/g, kh, kw]: the group is the slow part of axis 0, and output channel = group * O/g + axis 1.
    group = layer.attributes.get_int("group", 1)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    per_group = scale.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
    return (grouped * per_group).reshape(weight.shape)


def why_not_into_readers(node: ir.Node, affine: ChannelAffine) -> str | None:
    """Return why an affine ``node`` cannot merge into the layers behind it; None if it can.

    Rules:
        R1. Every reader is a Conv or Gemm with constant weight and bias, that reads it as its data, not its weight.
        R2. A Conv that pads needs a shift of zero: the padding is 0 behind the affine, not in front of it.
        R3. The graph does not put the result out.
    """
    value = node.outputs[0]
    if value.is_graph_output():
        return "it is an output of the graph"
    for use in value.uses():
        reader = use.node
        label = f"{reader.op_type} '{reader.name}'"
        if reader.op_type not in ("Conv", "Gemm") or use.idx != 0:
            return f"it is read by {label}, which is no Conv or Gemm"
        if parameters(reader) is None:
            return f"the weight or bias of {label} is not constant"
        if reader.op_type == "Conv" and any(reader.attributes.get_ints("pads", ())) and affine.shift.any():
            return f"{label} behind it pads with zeros, so that its shift cannot pass through"
    return None if value.uses() else "nothing reads it"


def merge_into_readers(node: ir.Node, affine: ChannelAffine) -> list[ir.Node]:
    """Merge into the layers behind ``node``: ``W' = W * scale``, ``b' = b + sum W * shift``; ``node`` is not removed.

    Returns:
        The layers. `why_not_into_readers` must have returned None.
    """
    layers = [use.node for use in node.outputs[0].uses()]
    for layer in layers:
        values = parameters(layer)
        if values is None:
            raise ValueError(f"{node.op_type} '{node.name}' cannot merge into {layer.op_type} '{layer.name}'")
        set_parameters(layer, *scale_inputs(layer, *values, affine))
        absorb(layer, node)
    return layers


def scale_inputs(layer: ir.Node, weight: F64, bias: F64, affine: ChannelAffine) -> tuple[F64, F64]:
    """Return weight and bias of a Conv or Gemm that takes ``x`` where it took ``scale * x + shift``; no padding."""
    group = layer.attributes.get_int("group", 1) if layer.op_type == "Conv" else 1
    spatial = [1] * (weight.ndim - 2)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    scale = affine.scale.reshape(group, 1, -1, *spatial)
    shift = affine.shift.reshape(group, 1, -1, *spatial)
    added = (grouped * shift).reshape(weight.shape[0], -1).sum(axis=1)
    return (grouped * scale).reshape(weight.shape), bias + added
