"""Grids of activations as files say them, read without any code of edgecnn: (scale, zero point on uint8) by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

Grids = dict[str, tuple[float, int]]
Edge = tuple[str, str]


def from_onnx(path: Path) -> Grids:
    """What QuantizeLinear writes and DequantizeLinear reads, where it is uint8."""
    import onnx

    graph = onnx.load(path).graph
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    grids: Grids = {}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and values[node.input[2]].dtype == np.uint8:
            name = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            grid = float(values[node.input[1]]), int(values[node.input[2]])
            assert grids.setdefault(name, grid) == grid, f"{name} has two grids"
    return grids


def from_tflite(path: Path) -> Grids:
    """What LiteRT itself says about the tensors; an int8 tensor's zero point is moved by 128."""
    from ai_edge_litert.interpreter import Interpreter

    grids: Grids = {}
    for tensor in Interpreter(str(path), num_threads=1).get_tensor_details():
        scales, zeros = (tensor["quantization_parameters"][key] for key in ("scales", "zero_points"))
        if len(scales) == 1 and tensor["dtype"] in (np.int8, np.uint8):
            grids[tensor["name"]] = float(scales[0]), int(zeros[0]) + (128 if tensor["dtype"] == np.int8 else 0)
    return grids


def from_openvino(path: Path) -> Grids:
    """From the XML and the constants in the .bin: ``u8 -> Convert (-> Subtract zp) -> Multiply scale``."""
    return dict(_Network(path).grids())


def ranges_from_openvino(path: Path) -> dict[str, tuple[float, float]]:
    """The real values at which FakeQuantize gives 0 and 255, by the name of the integers."""
    return dict(_Network(path).ranges())


class _Network:
    """The layers of an IR file and the constants beside it."""

    def __init__(self, path: Path) -> None:
        root = ElementTree.parse(path).getroot()
        self._layers = {layer.attrib["id"]: layer for layer in root.iter("layer")}
        self._sources: dict[Edge, str] = {}
        for edge in root.iter("edge"):
            self._sources[edge.attrib["to-layer"], edge.attrib["to-port"]] = edge.attrib["from-layer"]
        self._weights = path.with_suffix(".bin").read_bytes()

    def grids(self) -> Iterator[tuple[str, tuple[float, int]]]:
        for key, layer in self._layers.items():
            if layer.attrib["type"] == "Multiply" and (scale := self._scalar(self._parent(key, 1))) is not None:
                before, zero_point = self._parent(key, 0), 0.0
                if self._type(before) == "Subtract":
                    before, zero_point = self._parent(before, 0), self._scalar(self._parent(before, 1)) or 0.0
                source = self._parent(before, 0) if self._type(before) == "Convert" else None
                if source is not None and self._is_uint8(source):
                    yield self._layers[source].attrib["name"], (scale, int(zero_point))

    def ranges(self) -> Iterator[tuple[str, tuple[float, float]]]:
        for key, layer in self._layers.items():
            if layer.attrib["type"] == "Convert" and self._type(before := self._parent(key, 0)) == "FakeQuantize":
                low, high = (self._scalar(self._parent(before, port)) for port in (1, 2))
                assert low is not None
                assert high is not None
                yield layer.attrib["name"], (low, high)

    def _type(self, key: str) -> str:
        return self._layers[key].attrib["type"]

    def _parent(self, key: str, port: int) -> str:
        return self._sources[key, str(port)]

    def _is_uint8(self, key: str) -> bool:
        port = self._layers[key].find("output/port")
        return port is not None and port.attrib["precision"] == "U8"

    def _scalar(self, key: str) -> float | None:
        data = self._layers[key].find("data")
        if self._type(key) != "Const" or data is None or data.attrib["element_type"] != "f32":
            return None
        offset, size = int(data.attrib["offset"]), int(data.attrib["size"])
        return float(np.frombuffer(self._weights, np.float32, 1, offset)[0]) if size == 4 else None
