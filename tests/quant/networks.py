"""Small float networks for the quantiser: torch modules brought into normal form, and float graphs made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn import exact_sums
from edgecnn.affine import dequantise
from edgecnn.graph import import_torch
from edgecnn.integer_graph import Array, Attribute, IntegerGraph
from edgecnn.ops import FloatNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.quant.float_graph import FloatGraph
from edgecnn.recipe import Recipe
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams
from edgecnn.windows import output_size

FAST = Recipe("fast", "", "minmax", "minmax", False)
BEST = Recipe("best", "", "mse", "mse", True)


@contextmanager
def weights_of(bits: int) -> Iterator[None]:
    """Let weights have ``bits`` bits, so that their rounding shows: a layer's noise grows by 6 dB a bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_sums, "TOP", 2 ** (bits - 1) - 1)
        yield


def pictures(count: int, size: int = 32, channels: int = 3, seed: int = 0) -> list[Array]:
    """Return smooth random frames (size, size, channels) uint8 that use the whole range."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.standard_normal((count, channels, 5, 5)))
    smooth = nn.functional.interpolate(coarse, (size, size), mode="bicubic").numpy()
    noisy = smooth * 55 + rng.standard_normal(smooth.shape) * 12 + rng.uniform(60, 190, (count, 1, 1, 1))
    return list(np.clip(noisy, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def settled(module: nn.Module, size: int = 32, channels: int = 3) -> nn.Module:
    """Let batch norms see pictures, so that activations are as in a trained network."""
    frames = torch.from_numpy(np.stack(pictures(16, size, channels, seed=99)).transpose(0, 3, 1, 2)).float() / 255
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            layer.momentum = None
    with torch.no_grad():
        for _ in range(3):
            module.train()(frames)
    return module.eval()


def in_normal_form(module: nn.Module, size: int = 32, channels: int = 3) -> ir.Model:
    """Import ``module``, rewrite it and let the frame be its input, as a build does."""
    model = import_torch(module, (1, channels, size, size))
    normalise(model)
    FrameInput(color="gray" if channels == 1 else "rgb")(model)
    FrameOutput()(model)
    return model


def float_outputs(model: ir.Model, frames: Sequence[Array]) -> Array:
    """Run the float graph; the first output of every frame, stacked."""
    name = str(model.graph.outputs[0].name)
    runner = FloatModel(model, outputs=[name])
    return np.stack([runner({"frame": frame[None]})[0] for frame in frames])


def integer_outputs(graph: IntegerGraph, frames: Sequence[Array]) -> Array:
    """Run the reference; the first output of every frame as real values, stacked."""
    name = graph.outputs[0]
    integers = [run_graph(graph, [frame[None]])[name] for frame in frames]
    return np.stack([dequantise(item, graph.spec(name).grid) for item in integers])


def sqnr(wanted: Array, got: Array) -> float:
    """Signal-to-quantisation-noise ratio in dB."""
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


class ConvNormClamp(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.body = nn.Sequential(
            ConvNormClamp(inputs, wide, 1),
            ConvNormClamp(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class SmallMobileNet(nn.Module):
    """MobileNetV2 in small: inverted residuals with additions, mean, fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormClamp(3, 8, 3, 2),
            InvertedResidual(8, 12, 1, 2),
            InvertedResidual(12, 12, 1, 4),
            InvertedResidual(12, 16, 2, 4),
            InvertedResidual(16, 16, 1, 4),
            InvertedResidual(16, 16, 1, 4),
            ConvNormClamp(16, 32, 1),
        )
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class FloatGraphBuilder:
    """Makes a float graph in normal form by hand; every method returns a tensor's name."""

    def __init__(self, channels: int = 3, size: int = 8) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[FloatNode] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {"frame": (1, size, size, channels)}
        self.frame_grid = QuantParams.per_tensor(1 / 255)
        self.x = self.node("Transpose", ["frame"], (1, channels, size, size), perm=(0, 3, 1, 2))

    def constant(self, array: object) -> str:
        name = f"const{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        self.shapes[name] = self.constants[name].shape
        return name

    def node(
        self, op: str, inputs: Sequence[str], shape: Sequence[int] | None = None, name: str = "", **given: Attribute
    ) -> str:
        output = name or f"{op.lower()}{len(self.nodes)}"
        self.shapes[output] = tuple(shape) if shape is not None else self.shapes[inputs[0]]
        constants = {item: self.constants[item] for item in inputs if item in self.constants}
        shapes = {item: self.shapes[item] for item in (*inputs, output) if item}
        self.nodes.append(FloatNode(f"node_{output}", op, tuple(inputs), output, given, constants, shapes))
        return output

    def conv(self, x: str, outputs: int, kernel: int = 3, name: str = "", group: int = 1) -> str:
        _, inputs, height, width = self.shapes[x]
        weight = self.random.standard_normal((outputs, inputs // group, kernel, kernel)).astype(np.float32)
        bias = self.random.standard_normal(outputs).astype(np.float32)
        pads = (kernel // 2,) * 4
        sizes = [output_size(size, kernel, 1, pads[0], pads[0]) for size in (height, width)]
        inputs_of = [x, self.constant(weight), self.constant(bias)]
        return self.node("Conv", inputs_of, (1, outputs, *sizes), name, pads=pads, group=group)

    def relu(self, x: str, name: str = "") -> str:
        return self.node("Relu", [x], name=name)

    def clip(self, x: str, low: float, high: float, name: str = "") -> str:
        bounds = [self.constant(np.float32(low)), self.constant(np.float32(high))]
        return self.node("Clip", [x, *bounds], name=name)

    def graph(self, *outputs: str) -> FloatGraph:
        return FloatGraph(
            "test", "frame", self.frame_grid, outputs, tuple(self.nodes), dict(self.constants), dict(self.shapes)
        )
