"""Builds integer graphs from a few words, and runs them on LiteRT beside the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgecnn.exact_sums import WEIGHTED
from edgecnn.export.tflite import to_bytes
from edgecnn.integer_graph import Array, Attribute, IntegerGraph, IntegerNode
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.windows import output_size
from tests.ops.single import in_pairs


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of a tensor."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.inputs: list[str] = []
        self.nodes: list[IntegerNode] = []
        self.tensors: dict[str, TensorSpec] = {}
        self.constants: dict[str, Array] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def grid(self, name: str) -> QuantParams:
        return self.tensors[name].grid

    def any_grid(self) -> QuantParams:
        return QuantParams.per_tensor(float(2 ** self.random.uniform(-7, 0)), int(self.random.integers(0, 256)))

    def input(self, shape: Sequence[int], grid: QuantParams | None = None) -> str:
        name = f"x{len(self.inputs)}"
        self.tensors[name] = TensorSpec(name, tuple(shape), "uint8", grid or self.any_grid())
        self.inputs.append(name)
        return name

    def image(self, channels: int, height: int, width: int, grid: QuantParams | None = None) -> str:
        """A frame as it comes from the camera, transposed to NCHW."""
        frame = self.input((1, height, width, channels), grid)
        return self.node("Transpose", [frame], (1, channels, height, width), self.grid(frame), perm=(0, 3, 1, 2))

    def as_frame(self, name: str) -> str:
        """An NCHW map transposed to NHWC, as 4-D outputs leave."""
        batch, channels, height, width = self.shape(name)
        spec = self.tensors[name]
        perm = (0, 2, 3, 1)
        return self.node("Transpose", [name], (batch, height, width, channels), spec.quant, spec.dtype, perm=perm)

    def constant(self, array: Array, grid: QuantParams) -> str:
        name = f"c{len(self.constants)}"
        self.tensors[name] = TensorSpec(name, array.shape, array.dtype.name, grid)
        self.constants[name] = array
        return name

    def parameters(self, x: str, shape: Sequence[int], axis: int, count: int) -> list[str]:
        """A random int8 weight with one scale per slice of ``axis``, and the int32 bias."""
        scales = self.random.uniform(0.002, 0.02, shape[axis]).astype(np.float32)
        weight = self.random.integers(-127, 128, tuple(shape)).astype(np.int8)
        bias_scales = scales * np.float32(self.grid(x).scale[0])
        bias = self.random.integers(-3000, 3000, count).astype(np.int32)
        return [
            self.constant(weight, QuantParams.per_channel(scales, axis)),
            self.constant(bias, QuantParams.per_channel(np.broadcast_to(bias_scales, count), 0)),
        ]

    def sum_grid(self, x: str, terms: int) -> QuantParams:
        """A grid on which sums of ``terms`` products mostly do not saturate."""
        spread = self.grid(x).scale[0] * 0.011 * 75 * 75 * np.sqrt(terms)
        return QuantParams.per_tensor(float(spread / 60), int(self.random.integers(60, 200)))

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        out: Sequence[int],
        grid: QuantParams | None,
        dtype: str = "uint8",
        **attributes: Attribute,
    ) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.tensors[name] = TensorSpec(name, tuple(int(size) for size in out), dtype, grid)
        self.nodes.append(IntegerNode(f"node{len(self.nodes)}", op, tuple(inputs), name, attributes))
        return name

    def conv(
        self,
        x: str,
        channels: int,
        kernel: Sequence[int],
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] | None = None,
        dilations: Sequence[int] = (1, 1),
        group: int = 1,
        grid: QuantParams | None = None,
    ) -> str:
        batch, inputs, *size = self.shape(x)
        pads = tuple(pads) if pads is not None else (kernel[0] // 2, kernel[1] // 2) * 2
        parameters = self.parameters(x, (channels, inputs // group, *kernel), 0, channels)
        out = [output_size(size[i], kernel[i], strides[i], pads[i], pads[i + 2], dilations[i]) for i in (0, 1)]
        grid = grid or self.sum_grid(x, kernel[0] * kernel[1] * inputs // group)
        attributes = {"strides": tuple(strides), "pads": pads, "dilations": tuple(dilations), "group": group}
        return self.node("Conv", [x, *parameters], (batch, channels, *out), grid, **attributes)

    def gemm(self, x: str, count: int) -> str:
        terms = self.shape(x)[-1]
        parameters = self.parameters(x, (count, terms), 0, count)
        return self.node("Gemm", [x, *parameters], (*self.shape(x)[:-1], count), self.sum_grid(x, terms))

    def graph(self, *outputs: str) -> IntegerGraph:
        """Return the graph, its weights in pairs that every engine adds exactly."""
        constants = dict(self.constants)
        for node in self.nodes:
            if node.op in WEIGHTED:
                group = int(node.attributes.get("group", 1))
                constants[node.inputs[1]] = in_pairs(node.op, constants[node.inputs[1]], group)
        return IntegerGraph("test", tuple(self.inputs), outputs, tuple(self.nodes), dict(self.tensors), constants)

    def arrays(self) -> list[Array]:
        return [self.random.integers(0, 256, self.shape(name), dtype=np.uint8) for name in self.inputs]


def run_litert(data: bytes, arrays: Sequence[Array]) -> list[Array]:
    """Run a TFLite file with XNNPACK, the default, on one thread."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    for item, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(item["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]


def largest_difference(builder: GraphBuilder, *outputs: str) -> int:
    """Largest difference, in LSB, between LiteRT and the reference on random inputs."""
    graph = builder.graph(*outputs)
    arrays = builder.arrays()
    expected = run_graph(graph, arrays)
    worst = 0
    for name, got in zip(outputs, run_litert(to_bytes(graph), arrays), strict=True):
        assert got.shape == expected[name].shape
        assert got.dtype == expected[name].dtype
        worst = max(worst, int(np.abs(got.astype(np.int64) - expected[name].astype(np.int64)).max()))
    return worst


@pytest.fixture(scope="session")
def build() -> Callable[[int], GraphBuilder]:
    return GraphBuilder


@pytest.fixture(scope="session")
def difference() -> Callable[..., int]:
    return largest_difference


@pytest.fixture(scope="session")
def litert() -> Callable[[bytes, Sequence[Array]], list[Array]]:
    return run_litert


@pytest.fixture(scope="session")
def mobile_net(build: Callable[[int], GraphBuilder]) -> GraphBuilder:
    """A small MobileNetV2: inverted residuals, a mean, a Reshape and a Gemm; its output is the last node's."""
    graph = build(7)
    clamp = QuantParams.per_tensor(6 / 255, 0)
    x = graph.conv(graph.image(3, 32, 32), 8, (3, 3), (2, 2), grid=clamp)
    for channels, stride in ((8, 1), (12, 2), (12, 1)):
        wide = graph.shape(x)[1] * 4
        y = graph.conv(x, wide, (1, 1), grid=clamp)
        y = graph.conv(y, wide, (3, 3), (stride, stride), group=wide, grid=clamp)
        y = graph.conv(y, channels, (1, 1))
        x = graph.node("Add", [x, y], graph.shape(y), graph.any_grid()) if graph.shape(x) == graph.shape(y) else y
    x = graph.conv(x, 16, (1, 1), grid=clamp)
    x = graph.node("ReduceMean", [x], (1, 16, 1, 1), QuantParams.per_tensor(0.02, 0), axes=(2, 3), keepdims=1)
    x = graph.node("Reshape", [x], (1, 16), graph.grid(x), shape=(1, 16))
    graph.gemm(x, 10)
    return graph
