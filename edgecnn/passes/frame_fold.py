"""Merge the frame's normalisation and channel order into the layer that reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.passes.channel_affine import F64, ChannelAffine, parameters, scale_inputs, set_parameters
from edgecnn.passes.fold_affine import affine_of
from edgecnn.passes.frame_border import LEVELS, Border, choose_zero_point
from edgecnn.passes.picture import FRAME, Entry
from edgecnn.passes.rewrite import absorb, constant, operand, replace, shape_of, sole_reader

Order = tuple[int, ...]


@dataclass(frozen=True)
class FoldedEntry:
    """What padding became, and why a 1x1 Conv had to be inserted (empty if it had not)."""

    border: Border
    reason: str = ""


def enter_folded(entry: Entry, affine: ChannelAffine, order: Order) -> FoldedEntry:
    """Let the rest of the model read the raw frame.

    Args:
        entry: Where the frame enters.
        affine: Normalisation on the 0..1 scale, per channel of the model.
        order: The frame's channel for each of the model's channels.
    """
    affine, order = _with_leading_maps(entry.value, affine, order)
    value, parts = _behind_focus(entry.value)
    conv = sole_reader(value)
    reason = _why_not(value, conv, order)
    if reason is None and conv is not None:
        return FoldedEntry(_fold(conv, _repeated(affine, parts), _repeated_order(order, parts)))
    if not affine.is_identity or order != tuple(range(len(order))):
        _insert_conv(entry.value, affine, order)
        return FoldedEntry(Border(0, 0.0), reason or "")
    return FoldedEntry(Border(0, 0.0))


def _behind_focus(value: ir.Value) -> tuple[ir.Value, int]:
    """Return what stands behind a Concat of Slices of all channels, and of how many; without one, ``value`` and 1.

    Networks that begin by moving pixels into channels ("focus", space to depth) cut the picture so.
    """
    cuts = [use.node for use in value.uses()]
    concat = sole_reader(cuts[0].outputs[0]) if cuts else None
    if concat is None or concat.op_type != "Concat" or concat.attributes.get_int("axis", 0) != 1:
        return value, 1
    if len(concat.inputs) != len(cuts) or not all(_keeps_channels(cut, concat) for cut in cuts):
        return value, 1
    return concat.outputs[0], len(cuts)


def _keeps_channels(cut: ir.Node, concat: ir.Node) -> bool:
    whole = shape_of(cut.outputs[0])[1] == shape_of(operand(cut, 0))[1]
    return cut.op_type == "Slice" and whole and sole_reader(cut.outputs[0]) is concat


def _repeated(affine: ChannelAffine, parts: int) -> ChannelAffine:
    return ChannelAffine(np.tile(affine.scale, parts), np.tile(affine.shift, parts))


def _repeated_order(order: Order, parts: int) -> Order:
    return tuple(part * len(order) + channel for part in range(parts) for channel in order)


def _with_leading_maps(value: ir.Value, affine: ChannelAffine, order: Order) -> tuple[ChannelAffine, Order]:
    """Take into affine and order the 1x1 Convs, Mul, Add and Sub that the model starts with, and remove them."""
    while (node := sole_reader(value)) is not None and (own := _channel_map(node)) is not None:
        reader = sole_reader(node.outputs[0])
        if reader is None:
            break
        step, places = own
        affine = ChannelAffine(affine.scale[list(places)], affine.shift[list(places)]).then(step)
        order = tuple(order[place] for place in places)
        absorb(reader, node)
        replace(node, value)
    return affine, order


def _channel_map(node: ir.Node) -> tuple[ChannelAffine, Order] | None:
    """Return what a node does to each channel alone, and which channel it reads for it; None if it does more."""
    channels = shape_of(operand(node, 0))[1]
    same = tuple(range(channels))
    if node.op_type != "Conv":
        affine = affine_of(node)
        return None if affine is None else (affine, same)
    values = parameters(node)
    if values is None or not _is_pointwise(node):
        return None
    weight, bias = values
    if weight.shape[:2] == (channels, 1):
        return ChannelAffine(weight.reshape(-1), bias), same
    matrix = weight.reshape(weight.shape[0], -1)
    places = tuple(int(place) for place in np.abs(matrix).argmax(axis=1))
    if tuple(sorted(places)) != same or np.count_nonzero(matrix) != channels:
        return None
    return ChannelAffine(matrix[np.arange(channels), places], bias), places


def _is_pointwise(conv: ir.Node) -> bool:
    attributes = conv.attributes
    steps = attributes.get_ints("strides", ())
    single = shape_of(operand(conv, 1))[2:] == (1, 1)
    return single and not any(attributes.get_ints("pads", ())) and all(step == 1 for step in steps)


def _why_not(value: ir.Value, conv: ir.Node | None, order: Order) -> str | None:
    """Return why the first layer cannot take the frame itself (N5)."""
    if conv is None:
        return "the picture is read by several nodes, or leaves at once"
    label = f"{conv.op_type} '{conv.name}'"
    if conv.op_type != "Conv" or operand(conv, 0) is not value:
        return f"the first layer is {label}, not a Conv"
    if parameters(conv) is None:
        return f"the weight or bias of {label} is not constant"
    if conv.attributes.get_int("group", 1) != 1 and order != tuple(range(len(order))):
        return f"channels change places in front of {label}, which is grouped"
    return None


def _fold(conv: ir.Node, affine: ChannelAffine, order: Order) -> Border:
    """Fold into the weight: ``scale * raw / 255 + shift`` is ``scale * real + (shift + scale * zp / 255)``."""
    values = parameters(conv)
    if values is None:
        raise ValueError(f"Conv '{conv.name}' has no constant parameters")
    border = choose_zero_point(conv, *values, affine)
    shifted = ChannelAffine(affine.scale, affine.shift + affine.scale * border.zero_point / LEVELS)
    weight, bias = scale_inputs(conv, *values, shifted)
    set_parameters(conv, _to_frame_order(weight, order), bias)
    return border


def _to_frame_order(weight: F64, order: Order) -> F64:
    """Move the weights of the model's channel c to the frame's channel ``order[c]``."""
    if order == tuple(range(len(order))):
        return weight
    moved = np.empty_like(weight)
    moved[:, list(order)] = weight
    return moved


def _insert_conv(value: ir.Value, affine: ChannelAffine, order: Order) -> None:
    """Insert a 1x1 Conv that applies ``affine`` and ``order``: depthwise where the order stays, else dense."""
    uses = list(value.uses())
    channels, first = len(order), uses[0].node
    graph = first.graph
    if not isinstance(graph, ir.Graph):
        raise ValueError(f"{first.op_type} '{first.name}' stands in no graph")
    depthwise = order == tuple(range(channels))
    weight = affine.scale.reshape(-1, 1) if depthwise else _to_frame_order(np.diag(affine.scale), order)
    parameters = [
        constant(graph, f"{FRAME}/Normalise/weight", weight.reshape(channels, -1, 1, 1).astype(np.float32)),
        constant(graph, f"{FRAME}/Normalise/bias", affine.shift.astype(np.float32)),
    ]
    output = ir.Value(name=f"{FRAME}/normalised", type=ir.TensorType(ir.DataType.FLOAT), shape=value.shape)
    conv = ir.node(
        "Conv",
        [value, *parameters],
        _pointwise(channels if depthwise else 1),
        outputs=[output],
        name=f"{FRAME}/Normalise",
    )
    graph.insert_after(_producer(value), conv)
    for use in uses:
        use.node.replace_input_with(use.idx, output)


def _pointwise(group: int) -> dict[str, int | tuple[int, ...]]:
    ones = (1, 1)
    return {"kernel_shape": ones, "strides": ones, "pads": (0, 0, 0, 0), "dilations": ones, "group": group}


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    if node is None:
        raise ValueError(f"value '{value.name}' has no producer")
    return node
