"""ONNX files of three layers, whole and broken, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

CLASSES = 4
Shape = Sequence[int | str]


def weight(channels: int = 3) -> np.ndarray:
    """Return the kernel of the first convolution (4, channels, 3, 3)."""
    return np.random.default_rng(0).standard_normal((CLASSES, channels, 3, 3)).astype(np.float32)


def node(op: str, inputs: str | Sequence[str], output: str, **attributes: object) -> onnx.NodeProto:
    """Return a node; ``inputs`` are names with a space between, or a list where one is left out."""
    names = inputs.split() if isinstance(inputs, str) else list(inputs)
    return helper.make_node(op, names, [output], **({"name": output} | attributes))


def write(
    path: Path,
    body: Sequence[onnx.NodeProto] = (),
    shape: Shape = (1, 3, 16, 16),
    kernel: np.ndarray | None = None,
    metadata: Mapping[str, str] | None = None,
    output: Shape | None = None,
    end: str = "conv",
    constants: Sequence[onnx.TensorProto] = (),
) -> Path:
    """Write ``image -> Conv -> body -> mean -> logits (1, 4)``; ``end`` is what the body gives, rank 4.

    With ``output`` there is no mean: the body ends in ``logits`` of that shape itself.
    """
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["conv"], "first", pads=[1, 1, 1, 1]), *body]
    if output is None:
        nodes.append(helper.make_node("GlobalAveragePool", [end], ["mean"], "pool"))
        nodes.append(helper.make_node("Flatten", ["mean"], ["logits"], "flatten"))
    kernel = weight() if kernel is None else kernel
    inputs = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, output or (shape[0], CLASSES))]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [numpy_helper.from_array(kernel, "kernel"), *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    path.write_bytes(model.SerializeToString())
    return path
