"""DepthToSpace: channels spread over blocks of pixels; mode DCR or CRD as in ONNX."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.ops import CHANNELS_LAST, Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Block size and order of the channels."""
    return {"blocksize": node.integer("blocksize"), "mode": node.text("mode", "DCR")}


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Rearrange the integers; source: ONNX DepthToSpace-13."""
    x, block = inputs[0].values, node.integer("blocksize")
    batch, channels, height, width = x.shape
    depth = channels // block**2
    if node.text("mode") == "DCR":
        blocks = x.reshape(batch, block, block, depth, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(batch, depth, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(output.shape)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a DepthToSpace of integers."""
    block, mode = node.integer("blocksize"), node.text("mode")
    writer.move(node, "DepthToSpace", [writer.integers(node.inputs[0])], blocksize=block, mode=mode)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write DEPTH_TO_SPACE, which is DCR on NHWC; CRD regroups the channels first.

    The regrouping costs nothing behind a convolution: that writes its channels in the other order.
    """
    block = node.integer("blocksize")
    if node.text("mode") == "DCR":
        x = writer.read(node.inputs[0], CHANNELS_LAST)
    else:
        batch, channels, height, width = writer.graph.spec(node.inputs[0]).shape
        split = (batch, channels // block**2, block**2, height, width)
        x = writer.regrouped(node.inputs[0], split, (0, 2, 1, 3, 4))
    writer.write(node, "DEPTH_TO_SPACE", [x], CHANNELS_LAST, block_size=block)
