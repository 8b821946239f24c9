"""Find the model's picture, and put the camera frame in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.errors import ModelError
from edgecnn.passes.channel_affine import ChannelAffine
from edgecnn.passes.rewrite import constant, shape_of, sole_reader

TO_NCHW = (0, 3, 1, 2)
FRAME = "frame"
Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Picture:
    """The picture a model reads.

    Attributes:
        name: Name of the model's input.
        height: In pixels.
        width: In pixels.
        channels: Number of channels.
        nhwc: Whether the model's input is [1, H, W, C] instead of [1, C, H, W].
        raw: Whether the model takes uint8 and converts it itself.
        value: What the rest of the model reads: [1, C, H, W] float.
        wrapping: Transpose and Cast nodes between the input and ``value``.
    """

    name: str
    height: int
    width: int
    channels: int
    nhwc: bool
    raw: bool
    value: ir.Value
    wrapping: tuple[ir.Node, ...]

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """Shape of the frame as a tensor, (1, H, W, C)."""
        return 1, self.height, self.width, self.channels

    def feed(self, frame: npt.NDArray[np.uint8], affine: ChannelAffine, order: tuple[int, ...]) -> Array:
        """Return what the model was fed before: the normalised picture in its own layout.

        Args:
            frame: uint8 (1, H, W, C).
            affine: Normalisation on the 0..1 scale.
            order: The frame's channel for each of the model's channels.
        """
        picture = frame[..., list(order)]
        if not self.raw:
            picture = (picture / 255 * affine.scale + affine.shift).astype(np.float32)
        return picture if self.nhwc else np.ascontiguousarray(picture.transpose(TO_NCHW))


@dataclass(frozen=True)
class Entry:
    """The frame on its way into the model: ``frame -> DequantizeLinear -> Transpose -> value``."""

    value: ir.Value
    dequantize: ir.Node

    def set_zero_point(self, zero_point: int) -> None:
        """Set the input grid's zero point."""
        graph = self.dequantize.graph
        if not isinstance(graph, ir.Graph):
            raise ValueError("the frame's DequantizeLinear stands in no graph")
        name = f"{FRAME}/zero_point"
        self.dequantize.replace_input_with(2, constant(graph, name, np.asarray(zero_point, np.uint8)))


def find_picture(model: ir.Model) -> Picture:
    """Find the one input of ``model`` and how it is read.

    Raises:
        ModelError: If there is not exactly one input, or it is not a picture of rank 4 in float32 or uint8.
    """
    if len(model.graph.inputs) != 1:
        names = ", ".join(str(value.name) for value in model.graph.inputs)
        raise ModelError(f"the model has {len(model.graph.inputs)} inputs ({names}), expected one picture.")
    image = model.graph.inputs[0]
    shape = shape_of(image)
    if len(shape) != 4 or image.dtype not in (ir.DataType.FLOAT, ir.DataType.UINT8):
        raise ModelError(
            f"input '{image.name}' is {image.dtype} of shape {shape}, expected a picture: float32 or uint8, rank 4."
        )
    value, wrapping = image, list[ir.Node]()
    while (reader := sole_reader(value)) is not None and _wraps(reader):
        wrapping.append(reader)
        value = reader.outputs[0]
    if value.dtype != ir.DataType.FLOAT:
        raise ModelError(f"input '{image.name}' is uint8 and never converted to float32: give a float model.")
    if not value.uses():
        raise ModelError(f"nothing reads the model's input '{image.name}': there is no network behind it.")
    _, channels, height, width = shape_of(value)
    nhwc = any(node.op_type == "Transpose" for node in wrapping)
    raw = image.dtype == ir.DataType.UINT8
    return Picture(str(image.name), height, width, channels, nhwc, raw, value, tuple(wrapping))


def _wraps(node: ir.Node) -> bool:
    if node.op_type == "Transpose":
        return tuple(node.attributes.get_ints("perm", ())) == TO_NCHW
    return node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT


def enter(model: ir.Model, picture: Picture) -> Entry:
    """Replace the model's input by ``frame``; the zero point is 0 until `Entry.set_zero_point`."""
    graph = model.graph
    old = graph.inputs[0]
    old.name = f"{old.name}/replaced"
    for taken in (output for node in graph for output in node.outputs if output.name == FRAME):
        taken.name = f"{FRAME}/of_the_model"
    frame = ir.Value(name=FRAME, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape(picture.frame_shape))
    scale = constant(graph, f"{FRAME}/scale", np.asarray(1 / 255, np.float32))
    zero = constant(graph, f"{FRAME}/zero_point", np.asarray(0, np.uint8))
    real = _float_value("real", picture.frame_shape)
    nchw = _float_value("nchw", (1, picture.channels, picture.height, picture.width))
    dequantize = ir.node("DequantizeLinear", [frame, scale, zero], outputs=[real], name=f"{FRAME}/DequantizeLinear")
    transpose = ir.node("Transpose", [real], {"perm": TO_NCHW}, outputs=[nchw], name=f"{FRAME}/Transpose")
    graph.insert_before(graph[0], [dequantize, transpose])
    picture.value.replace_all_uses_with(nchw, replace_graph_outputs=True)
    for node in reversed(picture.wrapping):
        graph.remove(node, safe=True)
    graph.inputs[0] = frame
    return Entry(nchw, dequantize)


def _float_value(name: str, shape: tuple[int, ...]) -> ir.Value:
    return ir.Value(name=f"{FRAME}/{name}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
