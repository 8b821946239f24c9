"""Small networks with one oddity each: near to float, and the same integers on every engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.export import artefact
from edgecnn.quant.pipeline import quantise
from edgecnn.runtime.engines.reference import run_graph
from tests.quant.networks import BEST, float_outputs, in_normal_form, integer_outputs, pictures, sqnr

SIZE = 12
ENGINES = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert", "openvino": "openvino"}


class Around(nn.Module):
    """A function of the picture and of a 1x1 convolution of it."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.conv(x))


def dead_slopes() -> nn.Module:
    slopes = nn.PReLU(4)
    nn.init.zeros_(slopes.weight)
    return slopes


RAMP = torch.arange(144.0).reshape(1, 1, SIZE, SIZE) / 100
NETWORKS = {
    "slopes of zero": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), dead_slopes(), nn.Conv2d(4, 2, 1)),
    "a product with a constant": lambda: Around(lambda x, y: y * RAMP),
    "a concat with the picture": lambda: Around(lambda x, y: torch.cat([y, x], 1)),
    "a relu of the picture": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1)),
    "a square": lambda: Around(lambda x, y: y * y),
    "a sum with itself": lambda: Around(lambda x, y: y + y),
    "a clamp below zero": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardtanh(-1, 1), nn.Conv2d(4, 2, 1)),
    "a clamp above zero": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardtanh(0.2, 0.3), nn.Conv2d(4, 2, 1)),
    "a border of ones": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConstantPad2d(2, 1.5), nn.Conv2d(4, 2, 3)),
    "mirrored borders": lambda: nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(3, 4, 3), nn.ReplicationPad2d(1)),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(3, 16, 1), nn.PixelShuffle(2), nn.Conv2d(4, 2, 1)),
    "layers without maps": lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 64), nn.ReLU(), nn.Linear(64, 5)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    model = in_normal_form(NETWORKS[request.param]().eval(), SIZE)
    return model, quantise(model, pictures(4, SIZE), BEST).graph


def test_the_integers_are_near_to_float(network):
    model, graph = network
    frames = pictures(4, SIZE)
    assert sqnr(float_outputs(model, frames), integer_outputs(graph, frames)) > 37.0


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_references_integers(network, engine):
    if importlib.util.find_spec(ENGINES[engine]) is None:
        pytest.skip(f"{engine} is not installed")
    _, graph = network
    frames = [*pictures(2, SIZE, seed=4), np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)]
    with artefact.opened(engine, graph) as loaded:
        for frame in frames:
            expected = run_graph(graph, [frame[None]])[graph.outputs[0]]
            np.testing.assert_array_equal(loaded.run([frame[None]])[0], expected)


@pytest.mark.parametrize(
    ("function", "nodes"),
    [(lambda x, y: y.argmax(1), ["Conv", "ArgMax"]), (lambda x, y: (y, y.mean((2, 3))), ["Conv", "ReduceMean"])],
    ids=["indices", "two outputs"],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_of_other_kinds(function, nodes, engine):
    if importlib.util.find_spec(ENGINES[engine]) is None:
        pytest.skip(f"{engine} is not installed")
    torch.manual_seed(0)
    graph = quantise(in_normal_form(Around(function), SIZE), pictures(4, SIZE), BEST).graph
    assert [node.op for node in graph.nodes][1:3] == nodes
    frame = pictures(1, SIZE, seed=4)[0][None]
    expected = run_graph(graph, [frame])
    with artefact.opened(engine, graph) as loaded:
        for name, got in zip(graph.outputs, loaded.run([frame]), strict=True):
            np.testing.assert_array_equal(got, expected[name])


def test_a_picture_that_is_only_moved_comes_out_as_it_was():
    graph = quantise(in_normal_form(nn.MaxPool2d(2), SIZE), pictures(2, SIZE), BEST).graph
    frame = pictures(1, SIZE, seed=4)[0]
    expected = frame[:, :, ::-1].reshape(SIZE // 2, 2, SIZE // 2, 2, 3).max(axis=(1, 3))
    np.testing.assert_array_equal(run_graph(graph, [frame[None]])[graph.outputs[0]][0], expected)
