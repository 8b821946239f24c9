"""Every operator that a network may have, from torch to integers: three engines give what the reference gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecnn.export import artefact
from edgecnn.graph import import_torch
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import load_recipe
from edgecnn.runtime.engines.reference import ReferenceEngine

SIZE, CHANNELS = 16, 8
Function = Callable[[Tensor, Tensor], Tensor]

LAYERS: dict[str, nn.Module] = {
    "grouped": nn.Conv2d(8, 16, 3, groups=4, padding=1),
    "depthwise": nn.Conv2d(8, 8, 5, groups=8, padding=2, stride=2),
    "channel multiplier": nn.Conv2d(8, 16, 3, groups=8, padding=1),
    "dilated": nn.Conv2d(8, 8, 3, dilation=2, padding=2),
    "transposed": nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1),
    "transposed depthwise": nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, groups=8),
    "transposed in groups": nn.Sequential(nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, groups=2), nn.ReLU()),
    "transposed with a multiplier": nn.ConvTranspose2d(8, 16, 2, stride=2, groups=8),
    "flattened linear": nn.Sequential(nn.Flatten(), nn.Linear(8 * SIZE * SIZE, 5)),
    "batch norm": nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()),
    "prelu": nn.PReLU(8),
}
SLOPES = torch.tensor([-1.5, -0.3, 0.0, 0.1, 0.1, 0.7, 1.0, 2.5])
FUNCTIONS: dict[str, Function] = {
    "add": lambda a, b: a + b,
    "add and relu": lambda a, b: (a + b).relu(),
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "add a constant": lambda a, b: a + 0.3,
    "multiply by a constant": lambda a, b: a * 1.7,
    "divide by a constant": lambda a, b: a / 1.7,
    "from a constant": lambda a, b: 1 - a.sigmoid(),
    "concat of two grids": lambda a, b: torch.cat([a, b.sigmoid()], 1),
    "split": lambda a, b: torch.cat(a.chunk(2, 1)[::-1], 1),
    "slice": lambda a, b: a[:, 2:6, 1:-1, ::2],
    "max pool": lambda a, b: F.max_pool2d(a, 3, 2, 1),
    "max pool, rounded up": lambda a, b: F.max_pool2d(a, 3, 2, ceil_mode=True),
    "average pool": lambda a, b: F.avg_pool2d(a, 2),
    "average pool with its padding": lambda a, b: F.avg_pool2d(a, 3, 2, 1),
    "average pool without its padding": lambda a, b: F.avg_pool2d(a, 3, 2, 1, count_include_pad=False),
    "average pool of the same size": lambda a, b: F.avg_pool2d(a, 3, 1, 1, count_include_pad=False),
    "global average": lambda a, b: F.adaptive_avg_pool2d(a, 1),
    "mean of channels": lambda a, b: a.mean(1, keepdim=True),
    "largest": lambda a, b: a.amax((2, 3)),
    "nearest": lambda a, b: F.interpolate(a, scale_factor=2),
    "bilinear": lambda a, b: F.interpolate(a, scale_factor=2, mode="bilinear"),
    "bilinear, corners aligned": lambda a, b: F.interpolate(a, scale_factor=2, mode="bilinear", align_corners=True),
    "relu": lambda a, b: a.relu(),
    "relu with two readers": lambda a, b: torch.cat([a, a.relu()], 1),
    "relu6": lambda a, b: F.relu6(a * 4),
    "clamp": lambda a, b: a.clamp(-0.2, 0.3),
    "leaky relu": lambda a, b: F.leaky_relu(a, 0.1),
    "leaky relu, then add": lambda a, b: F.leaky_relu(a, 0.1) + b,
    "slopes of both signs": lambda a, b: F.prelu(a, SLOPES),
    "three times slopes": lambda a, b: F.prelu(F.prelu(F.prelu(a, SLOPES), SLOPES.flip(0)), SLOPES),
    "slopes between sums": lambda a, b: F.prelu(F.prelu(a + b, SLOPES) + b, SLOPES) + a,
    "slopes, then concat": lambda a, b: torch.cat([F.prelu(a, SLOPES), F.prelu(b, SLOPES.flip(0)), a], 1),
    "sigmoid, then add": lambda a, b: a.sigmoid() + b,
    "tanh, then subtract": lambda a, b: a.tanh() - b,
    "silu, then concat": lambda a, b: torch.cat([F.silu(a), F.silu(b)], 1),
    "hard swish": lambda a, b: F.hardswish(a * 3),
    "hard sigmoid": lambda a, b: F.hardsigmoid(a * 3),
    "sigmoid": lambda a, b: a.sigmoid(),
    "tanh": lambda a, b: a.tanh(),
    "silu": lambda a, b: F.silu(a),
    "softmax of a vector": lambda a, b: a.mean((2, 3)).softmax(1),
    "softmax of a map": lambda a, b: a.softmax(1),
    "pad": lambda a, b: F.pad(a, (1, 2, 3, 0)),
    "pad with a value": lambda a, b: F.pad(a, (1, 2, 3, 0), value=0.2),
    "pad by reflection": lambda a, b: F.pad(a, (1, 2, 3, 1), mode="reflect"),
    "pad by repetition": lambda a, b: F.pad(a, (1, 2, 3, 1), mode="replicate"),
    "concat with its silu": lambda a, b: torch.cat([a, F.silu(a)], 1),
    "concat of mean and largest": lambda a, b: torch.cat([a.mean(1, keepdim=True), a.amax(1, keepdim=True)], 1),
    "channel shuffle": lambda a, b: a.reshape(1, 4, 2, SIZE, SIZE).transpose(1, 2).reshape(1, 8, SIZE, SIZE),
    "squeeze and unsqueeze": lambda a, b: a.mean((2, 3), keepdim=True).squeeze(3).unsqueeze(1),
    "transpose": lambda a, b: a.permute(0, 2, 3, 1),
    "pixel shuffle": lambda a, b: F.pixel_shuffle(a, 2),
    "arg max": lambda a, b: a.argmax(1),
}
# XNNPACK's bilinear kernel has weights of 11 bits.
COARSE = {("litert", "bilinear, corners aligned")}


class Network(nn.Module):
    """Two convolutions of the picture and what is made of them."""

    def __init__(self, then: Function | nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.second = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x), self.second(x)
        return self.then(a) if isinstance(self.then, nn.Module) else self.then(a, b)


@pytest.mark.parametrize("name", [*LAYERS, *FUNCTIONS])
def test_three_engines_agree_with_the_reference(name: str) -> None:
    torch.manual_seed(1)
    model = import_torch(Network({**LAYERS, **FUNCTIONS}[name]).eval(), (1, 3, SIZE, SIZE))
    normalise(model)
    FrameInput((0.5,), (0.25,), "rgb")(model)
    FrameOutput()(model)
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, SIZE, SIZE, 3)).astype(np.uint8)
    graph = quantise(model, [frame[0] for frame in frames], load_recipe("default")).graph
    reference = ReferenceEngine(graph)
    expected = np.stack([reference.run([frame])[0] for frame in frames]).astype(int)
    for engine in ("onnxruntime", "openvino", "litert"):
        with artefact.opened(engine, graph) as opened:
            got = np.stack([opened.run([frame])[0] for frame in frames]).astype(int)
        off = np.abs(got - expected)
        assert off.max() <= (1 if (engine, name) in COARSE else 0), engine
        assert np.mean(off > 0) <= 0.05, engine
