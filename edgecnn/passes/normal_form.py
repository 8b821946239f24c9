"""What a graph may consist of once all passes have run, and what to say about the rest.

The float normal form: the operators of `CONDITIONS`, each fed as its condition asks, every value float32 with a static
shape. Beyond ONNX's own rules it promises: Conv, ConvTranspose and Gemm have constant weight and bias, Conv and the
pools have all attributes and no auto_pad, Slice has one bound per dimension, Resize has sizes, Clip has constant
bounds, one or both, reductions have sorted axes as an input, in Add and Mul a constant stands second.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgecnn.errors import Refusal, UnsupportedError
from edgecnn.passes.resizes import why_not_normal
from edgecnn.passes.rewrite import array, integers, is_absent_or_constant, operand, optional, shape_of
from edgecnn.passes.slopes import channels_only
from edgecnn.passes.suggestions import suggestion

Complaint = tuple[str, str]
MAX_RANK = 6


def check_normal_form(model: ir.Model) -> None:
    """Refuse every node that cannot be lowered, all at once.

    Raises:
        UnsupportedError: Naming each node with the reason and what to do.
    """
    refusals = [refusal for node in model.graph if (refusal := refuse(node)) is not None]
    if refusals:
        raise UnsupportedError(refusals)


def refuse(node: ir.Node) -> Refusal | None:
    """Return why ``node`` is not in normal form; None if it is."""
    if _converts_the_picture(node):
        return None
    condition = CONDITIONS.get(node.op_type)
    complaint = ("no integer form of it exists.", suggestion(node.op_type)) if condition is None else condition(node)
    complaint = complaint or _values(node)
    return None if complaint is None else Refusal(node.op_type, node.name or "", *complaint)


def _converts_the_picture(node: ir.Node) -> bool:
    """Say whether ``node`` turns a uint8 input of the model to float32 or to NCHW; `FrameInput` takes its place."""
    value = node.inputs[0] if node.inputs else None
    if value is None or value.dtype != ir.DataType.UINT8 or node.op_type not in ("Cast", "Transpose"):
        return False
    producer = value.producer()
    return value.is_graph_input() or (producer is not None and _converts_the_picture(producer))


def _values(node: ir.Node) -> Complaint | None:
    """Check what holds for every operator: float32 out (ArgMax aside), one output that is not empty, rank 6 at most."""
    output = node.outputs[0]
    if any(extra.uses() or extra.is_graph_output() for extra in node.outputs[1:]):
        return "its second output is used.", "Use the first output only."
    if output.dtype != ir.DataType.FLOAT and node.op_type != "ArgMax":
        return f"it computes in {output.dtype}.", "Use float32 throughout; uint8 comes with the export."
    if 0 in shape_of(output):
        return f"its output is empty: {shape_of(output)}.", "Leave out what gives nothing."
    if len(shape_of(output)) > MAX_RANK:
        return f"its output has {len(shape_of(output))} dimensions.", f"Use at most {MAX_RANK}."
    return None


def _anything(node: ir.Node) -> Complaint | None:
    return None


def _not_constant(node: ir.Node, *indices: int) -> bool:
    return any(not is_absent_or_constant(node, index) for index in indices)


def _layer(node: ir.Node) -> Complaint | None:
    rank, group = len(shape_of(operand(node, 0))), node.attributes.get_int("group", 1)
    if rank != 4:
        hint = "Reshape to [N, C, 1, L] and use a 2-D layer with a kernel of 1 x k." if rank == 3 else "Use 2-D layers."
        return f"it works on {rank - 2} spatial dimension(s), expected 2.", hint
    if _not_constant(node, 1, 2):
        return "its weight or bias is not constant.", "Use constant weights."
    weight = shape_of(operand(node, 1))
    if node.op_type == "ConvTranspose" and group > 1 and (group, 1) != weight[:2]:
        return f"it has {group} groups.", "Run the passes in the order of the pipeline."
    if node.op_type == "ConvTranspose" and _reach(node) != shape_of(node.outputs[0])[2:]:
        return "its output_shape goes beyond what its kernel reaches.", "Leave output_shape out, or use output_padding."
    return None


def _reach(node: ir.Node) -> tuple[int, ...]:
    """Return the height and width that a ConvTranspose has by its other attributes (ONNX ConvTranspose-11)."""
    size, kernel = shape_of(operand(node, 0))[2:], shape_of(operand(node, 1))[2:]
    pads = node.attributes.get_ints("pads", (0, 0, 0, 0))
    strides, dilations = (node.attributes.get_ints(name, (1, 1)) for name in ("strides", "dilations"))
    extra = node.attributes.get_ints("output_padding", (0, 0))
    return tuple(
        strides[axis] * (size[axis] - 1)
        + extra[axis]
        + (kernel[axis] - 1) * dilations[axis]
        + 1
        - pads[axis]
        - pads[axis + 2]
        for axis in (0, 1)
    )


def _gemm(node: ir.Node) -> Complaint | None:
    if _not_constant(node, 1, 2):
        return (
            "both factors are computed, or the bias is.",
            "Use a constant matrix; attention has no integer form here.",
        )
    if node.attributes.get_int("transA", 0):
        return "it transposes its data input.", "Transpose it before."
    normal = node.attributes.get_int("transB", 0) == 1 and optional(node, 2) is not None
    return None if normal else ("its bias is not one number per output.", "Use a bias of shape [N].")


def _arithmetic(node: ir.Node) -> Complaint | None:
    if array(node.inputs[0]) is not None and node.op_type != "Sub":
        return "its constant stands first.", "Run the passes in the order of the pipeline."
    return None


def _concat(node: ir.Node) -> Complaint | None:
    if any(array(value) is not None for value in node.inputs):
        return "one of its inputs is constant.", "Feed the constant as an Add to the next layer instead."
    return None


def _max_pool(node: ir.Node) -> Complaint | None:
    if any(step != 1 for step in node.attributes.get_ints("dilations", ())):
        return "it is dilated.", "Use a pool without dilation."
    return _pool(node)


def _pool(node: ir.Node) -> Complaint | None:
    rank = len(shape_of(operand(node, 0)))
    if rank != 4:
        return f"it works on {rank - 2} spatial dimension(s), expected 2.", "Use 2-D pools."
    if node.attributes.get_int("ceil_mode", 0) and node.attributes.get_int("count_include_pad", 0):
        return "it rounds its size up and counts the padding.", "Use ceil_mode=False or count_include_pad=False."
    if node.attributes.get_int("ceil_mode", 0):
        return "it rounds its size up, to windows with nothing in them but padding.", "Use ceil_mode=False."
    return None


def _average_pool(node: ir.Node) -> Complaint | None:
    if any(step != 1 for step in node.attributes.get_ints("dilations", ())):
        return "it is dilated.", "Use a pool without dilation."
    return _pool(node)


def _reduction(node: ir.Node) -> Complaint | None:
    if integers(node, 1) is None:
        return "its axes are not constant.", "Use constant axes."
    return None


def _resize(node: ir.Node) -> Complaint | None:
    reason = why_not_normal(node)
    hint = "Use nearest or bilinear to a fixed size, with half_pixel, asymmetric or align_corners."
    return None if reason is None else (reason, hint)


def _slice(node: ir.Node) -> Complaint | None:
    steps = integers(node, 4)
    if steps is None or _not_constant(node, 1, 2, 3):
        return "its bounds are not constant, or its steps go backwards.", "Use constant bounds and steps of at least 1."
    return ("its steps go backwards.", "Use steps of at least 1.") if min(steps) < 1 else None


def _pad(node: ir.Node) -> Complaint | None:
    mode = node.attributes.get_string("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        return f"its mode is '{mode}'.", "Use constant, reflect or edge."
    if _not_constant(node, 1, 2) or optional(node, 3) is not None:
        return "its pads are not constant.", "Use constant pads."
    return None


def _clip(node: ir.Node) -> Complaint | None:
    return ("its bounds are not constant.", "Use constant bounds.") if _not_constant(node, 1, 2) else None


def _prelu(node: ir.Node) -> Complaint | None:
    slope = array(node.inputs[1])
    if slope is None or not channels_only(slope.shape, shape_of(operand(node, 0))):
        return "its slopes are not one constant per channel.", "Use one slope per channel."
    return None


def _arg_max(node: ir.Node) -> Complaint | None:
    if node.attributes.get_int("select_last_index", 0):
        return "it selects the last of equal values.", "Use select_last_index=0."
    return None


def _dequantize(node: ir.Node) -> Complaint | None:
    if operand(node, 0).is_graph_input():
        return None
    return "the model is quantised already.", suggestion("QuantizeLinear")


CONDITIONS: dict[str, Callable[[ir.Node], Complaint | None]] = {
    "Add": _arithmetic,
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _layer,
    "ConvTranspose": _layer,
    "DepthToSpace": _anything,
    "DequantizeLinear": _dequantize,
    "Gemm": _gemm,
    "LeakyRelu": _anything,
    "MaxPool": _max_pool,
    "Mul": _arithmetic,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMax": _reduction,
    "ReduceMean": _reduction,
    "Relu": _anything,
    "Reshape": _anything,
    "Resize": _resize,
    "Sigmoid": _anything,
    "Slice": _slice,
    "Softmax": _anything,
    "Sub": _arithmetic,
    "Tanh": _anything,
    "Transpose": _anything,
}
