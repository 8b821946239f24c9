"""The reference engine: networks against plain loops, and the engine's contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.affine import dequantise, grid_for_range, quantise
from edgecnn.errors import BundleError, EngineError
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.runtime import engines
from edgecnn.runtime.engines.reference import ReferenceEngine, load, run_graph
from edgecnn.tensor import QuantParams, TensorSpec

BATCH, SIZE = 2, 28


def tutorial_weights() -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(42)
    shapes = [(8, 1, 3, 3), (16, 8, 3, 3)]
    return [
        (
            (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32),
            (rng.standard_normal(shape[0]) * 0.1).astype(np.float32),
        )
        for shape in shapes
    ]


def conv_by_loops(x: Array, weight: Array, bias: Array, pad: int) -> Array:
    """Convolve with nothing but loops."""
    batch, channels, height, width = x.shape
    padded = np.zeros((batch, channels, height + 2 * pad, width + 2 * pad), np.float64)
    padded[:, :, pad : pad + height, pad : pad + width] = x
    out = np.zeros((batch, len(weight), height, width))
    for image in range(batch):
        for maps in range(len(weight)):
            for row in range(height):
                for column in range(width):
                    patch = padded[image, :, row : row + 3, column : column + 3]
                    out[image, maps, row, column] = (patch * weight[maps]).sum() + bias[maps]
    return out


def pool_by_loops(x: Array) -> Array:
    """Take the largest of each 2x2 window."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, channels, height // 2, width // 2))
    for row in range(height // 2):
        for column in range(width // 2):
            out[:, :, row, column] = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(2, 3))
    return out


class IntegerNet:
    """Builds the integer graph of a chain of [conv, ReLU, max pool 2] from float weights and observed ranges."""

    def __init__(self, x: TensorSpec) -> None:
        self.tensors, self.constants, self.nodes, self.last = {x.name: x}, {}, [], x

    def _add(self, spec: TensorSpec, op: str, *constants: str, **attributes: object) -> TensorSpec:
        self.tensors[spec.name] = spec
        self.nodes.append(
            IntegerNode(f"{op}{len(self.nodes)}", op, (self.last.name, *constants), spec.name, attributes)
        )
        self.last = spec
        return spec

    def _constant(self, name: str, real: Array, grid: QuantParams, dtype: str) -> str:
        self.constants[name] = quantise(real, grid, dtype)
        self.tensors[name] = TensorSpec(name, real.shape, dtype, grid)
        return name

    def block(self, weight: Array, bias: Array, high: float) -> None:
        """Add a block; its ReLU is the end of the grid 0 .. ``high``."""
        x, index = self.last, len(self.nodes)
        scales = QuantParams.per_channel(np.abs(weight).max(axis=(1, 2, 3)) / 127, 0)
        sums = QuantParams.per_channel(scales.scales * x.grid.scales, 0)
        names = [
            self._constant(f"weight{index}", weight, scales, "int8"),
            self._constant(f"bias{index}", bias, sums, "int32"),
        ]
        batch, _, height, width = x.shape
        maps = TensorSpec(f"maps{index}", (batch, len(weight), height, width), "uint8", grid_for_range(0.0, high))
        self._add(maps, "Conv", *names, strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), group=1)
        pooled = TensorSpec(f"pooled{index}", (batch, len(weight), height // 2, width // 2), "uint8", maps.quant)
        self._add(pooled, "MaxPool", kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))

    def graph(self, name: str) -> IntegerGraph:
        x = next(iter(self.tensors))
        return IntegerGraph(name, (x,), (self.last.name,), tuple(self.nodes), self.tensors, self.constants)


def simple_cnn() -> tuple[IntegerGraph, Array, Array]:
    """The tutorial's SimpleCNN as integers, an input, and the float result by plain loops."""
    x = TensorSpec("x", (BATCH, 1, SIZE, SIZE), "uint8", QuantParams.per_tensor(1 / 255))
    integers = np.random.default_rng(1).integers(0, 256, x.shape, dtype=np.uint8)
    values: Array = dequantise(integers, x.grid).astype(np.float64)
    net = IntegerNet(x)
    for weight, bias in tutorial_weights():
        values = np.maximum(conv_by_loops(values, weight, bias, 1), 0)
        net.block(weight, bias, float(values.max()))
        values = pool_by_loops(values)
    return net.graph("SimpleCNN"), integers, values


@pytest.fixture(scope="module")
def tutorial() -> tuple[IntegerGraph, Array, Array]:
    return simple_cnn()


def test_simple_cnn_turns_2x1x28x28_into_2x16x7x7(tutorial):
    graph, integers, _ = tutorial
    output = run_graph(graph, [integers])[graph.outputs[0]]
    assert output.shape == (2, 16, 7, 7)
    assert output.dtype == np.uint8


def test_simple_cnn_is_the_plain_loops_to_a_few_lsb(tutorial):
    graph, integers, expected = tutorial
    spec = graph.spec(graph.outputs[0])
    real = dequantise(run_graph(graph, [integers])[spec.name], spec.grid)
    assert np.abs(real - expected).max() <= 4 * spec.grid.scale[0]
    assert 10 * np.log10(np.square(expected).sum() / np.square(real - expected).sum()) > 35


def test_the_plain_loops_are_torchs_network():
    _, integers, expected = simple_cnn()
    layers: list[nn.Module] = []
    for weight, bias in tutorial_weights():
        conv = nn.Conv2d(weight.shape[1], len(weight), 3, padding=1)
        conv.weight.data, conv.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
        layers += [conv, nn.ReLU(), nn.MaxPool2d(2)]
    with torch.no_grad():
        result = nn.Sequential(*layers).double()(torch.from_numpy(integers / 255.0))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


def test_each_convolution_is_its_integers_by_plain_loops(tutorial):
    """The same sums by loops on integers, rounded by hand: every value equal."""
    graph, integers, _ = tutorial
    values = {"x": integers} | run_graph(graph, [integers])
    for node in (node for node in graph.nodes if node.op == "Conv"):
        x, weight, bias = (graph.spec(name) for name in node.inputs)
        offset = values[x.name].astype(np.int64) - x.grid.zero_point
        sums = conv_by_loops(offset, graph.constants[weight.name], graph.constants[bias.name], 1)
        out = graph.spec(node.output).grid
        factor = (x.grid.scales * weight.grid.scales / out.scales).astype(np.float32).reshape(1, -1, 1, 1)
        expected = np.clip(np.rint(sums.astype(np.float32) * factor) + out.zero_point, 0, 255)
        np.testing.assert_array_equal(values[node.output], expected)


def test_every_activation_is_returned_by_name(tutorial):
    graph, integers, _ = tutorial
    assert set(run_graph(graph, [integers])) == {spec.name for spec in graph.activations()}


def test_the_engine_returns_the_outputs_and_writes_to_no_input(tutorial):
    graph, integers, _ = tutorial
    before = integers.copy()
    with ReferenceEngine(graph) as engine:
        assert engine.inputs == (graph.spec("x"),)
        assert engine.outputs == (graph.spec(graph.outputs[0]),)
        first, second = engine.run([integers])[0], engine.run([integers])[0]
    np.testing.assert_array_equal(first, second)
    assert first is not second
    np.testing.assert_array_equal(integers, before)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "takes 1 input"),
        ([np.zeros((1, 1, 28, 28), np.uint8)], "must be uint8 of shape"),
        ([np.zeros((2, 1, 28, 28), np.float32)], "got float32"),
    ],
)
def test_wrong_inputs_are_refused(tutorial, arrays, message):
    with pytest.raises(EngineError, match=message):
        ReferenceEngine(tutorial[0]).run(arrays)


def test_a_saved_graph_loads_as_an_engine(tutorial, tmp_path):
    graph, integers, _ = tutorial
    graph.save(tmp_path / "graph.npz")
    inputs, outputs = [graph.spec("x")], [graph.spec(graph.outputs[0])]
    with engines.load("reference", tmp_path / "graph.npz", inputs, outputs, threads=1) as engine:
        np.testing.assert_array_equal(engine.run([integers])[0], run_graph(graph, [integers])[graph.outputs[0]])


def test_a_graph_with_other_outputs_is_refused(tutorial, tmp_path):
    graph, _, _ = tutorial
    graph.save(tmp_path / "graph.npz")
    other = TensorSpec(graph.outputs[0], (2, 16, 7, 7), "uint8", QuantParams.per_tensor(1.0))
    with pytest.raises(EngineError, match=r"graph\.npz: the graph's inputs and outputs are not those of the bundle"):
        load(tmp_path / "graph.npz", [graph.spec("x")], [other])


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "graph.npz").write_bytes(b"\x00" * 64)
    with pytest.raises(BundleError, match=r"graph.npz: not a readable \.npz"):
        load(tmp_path / "graph.npz", [], [])
