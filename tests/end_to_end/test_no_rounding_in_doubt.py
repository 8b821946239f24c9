"""Single operators and short chains on settled grids: every engine gives the reference's integer for every input code.

No convolution stands in front, so the frame itself is the operator's input, on any grid: it holds all 256 codes in
every channel, or all pairs of codes in two channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgecnn.export import artefact
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.quant.placement import place
from edgecnn.quant.quantise import to_integers
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams
from tests.quant.networks import FloatGraphBuilder

ENGINES = ("onnxruntime", "openvino", "litert")
CHANNELS = 8
Ends = tuple[float, float]


class Frame(FloatGraphBuilder):
    """A float graph whose frame has a random grid around zero; nodes are added with the ends of their output."""

    def __init__(self, seed: int, channels: int = CHANNELS, size: int = 16) -> None:
        super().__init__(channels, size)
        self.random = np.random.default_rng(seed)
        self.ends: dict[str, Ends] = {self.x: self.around_zero()}
        low, high = self.ends[self.x]
        scale = (high - low) / 255
        self.frame_grid = QuantParams.per_tensor(scale, round(-low / scale))

    def around_zero(self) -> Ends:
        size = 2 ** self.random.uniform(-4, 5)
        return -size * self.random.uniform(0.02, 1), size * self.random.uniform(0.02, 1)

    def own(self, op: str, inputs: list[str], ends: Ends, **given) -> str:
        """Add a node of the first input's shape whose calibration saw some of what it can give."""
        name = self.node(op, inputs, **given)
        seen = self.random.uniform(0.4, 1)
        self.ends[name] = (ends[0] * seen, ends[1] * seen)
        return name

    def regridded(self, x: str) -> str:
        return self.own("Requantize", [x], self.ends[x])

    def pair(self) -> tuple[str, str]:
        """Two activations of one channel; the grid of the first may be the frame's, which is fixed."""
        first, second = (self._channel(index) for index in (0, 1))
        return first if self.random.random() < 0.5 else self.regridded(first), self.regridded(second)

    def _channel(self, index: int) -> str:
        _, _, *size = self.shapes[self.x]
        bounds = [self.constant(np.asarray(item)) for item in ([0, index, 0, 0], [1, index + 1, *size])]
        name = self.node("Slice", [self.x, *bounds], (1, 1, *size))
        self.ends[name] = self.ends[self.x]
        return name

    def integers(self, output: str) -> IntegerGraph:
        graph = self.graph(output)
        placement = place(graph)
        return to_integers(graph, placement, {name: self.ends[name] for name in placement.own})


def codes() -> Array:
    """All 256 codes in every channel."""
    return np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (1, 16, 16, CHANNELS)).copy()


def pairs() -> Array:
    """All pairs of codes."""
    first, second = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    return np.stack([first, second], axis=-1)[None]


def hull(*values: float) -> Ends:
    return min(0.0, *values), max(0.0, *values)


def products(first: Ends, second: Ends) -> Ends:
    return hull(*(a * b for a in first for b in second))


def requantise(frame: Frame) -> str:
    return frame.regridded(frame.regridded(frame.x))


def curve(op: str) -> Callable[[Frame], str]:
    return lambda frame: frame.node(op, [frame.regridded(frame.x)])


def leaky_relu(frame: Frame) -> str:
    x = frame.regridded(frame.x)
    alpha = float(frame.random.choice([0.01, 0.1, 0.3, -0.5, 1.3]))
    low, high = frame.ends[x]
    return frame.own("LeakyRelu", [x], hull(low * alpha, low, high), alpha=alpha)


def slopes(low: float, high: float, count: int = CHANNELS) -> Callable[[Frame], str]:
    """Three PRelu, one behind the other."""

    def chain(frame: Frame) -> str:
        x = frame.x
        for _ in range(3):
            slope = frame.random.uniform(low, high, (count, 1, 1)).astype(np.float32)
            below, above = frame.ends[x]
            x = frame.own("PRelu", [x, frame.constant(slope)], hull(above, *(slope.ravel() * below)))
        return x

    return chain


def with_constant(op: str, first: bool = False) -> Callable[[Frame], str]:
    def step(frame: Frame) -> str:
        x, size = frame.regridded(frame.x), 2 ** frame.random.uniform(-4, 4)
        values = (frame.random.standard_normal((1, CHANNELS, 1, 1)) * size).astype(np.float32)
        low, high = frame.ends[x]
        ends, constant = hull(*values.ravel()), frame.constant(values)
        given = products((low, high), ends) if op == "Mul" else (low - ends[1] + ends[0], high - ends[0] + ends[1])
        frame.shapes[constant] = frame.shapes[x]
        return frame.own(op, [constant, x] if first else [x, constant], given)

    return step


def silu(frame: Frame) -> str:
    x = frame.regridded(frame.x)
    low, high = frame.ends[x]
    return frame.own("Mul", [x, frame.node("Sigmoid", [x])], (max(low, -0.28), high))


def of_two(op: str) -> Callable[[Frame], str]:
    def step(frame: Frame) -> str:
        a, b = frame.pair()
        (low, high), (first, last) = frame.ends[a], frame.ends[b]
        if op == "Mul":
            return frame.own(op, [a, b], products((low, high), (first, last)))
        return frame.own(op, [a, b], (low + first, high + last) if op == "Add" else (low - last, high - first))

    return step


def residual_slopes(frame: Frame) -> str:
    """Add, PRelu, Add: the slopes stand between two sums."""
    a, b = frame.pair()
    (low, high), (first, last) = frame.ends[a], frame.ends[b]
    total = frame.own("Add", [a, b], (low + first, high + last))
    slope = frame.constant(np.asarray([frame.random.uniform(-0.5, 0.9)], np.float32))
    low, high = frame.ends[total]
    active = frame.own("PRelu", [total, slope], hull(low * 0.5, high))
    low, high = frame.ends[active]
    return frame.own("Add", [active, b], (low + first, high + last))


def residual_silu(frame: Frame) -> str:
    """x + SiLU(y), as in many detectors."""
    a, b = frame.pair()
    low, high = frame.ends[b]
    product = frame.own("Mul", [b, frame.node("Sigmoid", [b])], (max(low, -0.28), high))
    (low, high), (first, last) = frame.ends[a], frame.ends[product]
    return frame.own("Add", [a, product], (low + first, high + last))


def gated(frame: Frame) -> str:
    """Sigmoid(a) * Tanh(b)."""
    a, b = frame.pair()
    gates = [frame.node("Sigmoid", [frame.regridded(a)]), frame.node("Tanh", [b])]
    return frame.own("Mul", gates, (-1.0, 1.0))


OF_ONE: dict[str, Callable[[Frame], str]] = {
    "Requantize": requantise,
    "Sigmoid": curve("Sigmoid"),
    "Tanh": curve("Tanh"),
    "LeakyRelu": leaky_relu,
    "PRelu, 0 to 0.9": slopes(0, 0.9),
    "PRelu, 0.5 to 3": slopes(0.5, 3),
    "PRelu, negative": slopes(-1.5, -0.01),
    "PRelu, of both signs": slopes(-1, 1.5),
    "PRelu, tiny": slopes(-1e-3, 4e-3),
    "PRelu, one slope": slopes(0.25, 0.25, 1),
    "PRelu, zeros": slopes(0, 0),
    "Add a constant": with_constant("Add"),
    "Sub a constant": with_constant("Sub"),
    "Sub from a constant": with_constant("Sub", first=True),
    "Mul by a constant": with_constant("Mul"),
    "SiLU": silu,
}
OF_TWO: dict[str, Callable[[Frame], str]] = {
    "Add": of_two("Add"),
    "Sub": of_two("Sub"),
    "Mul": of_two("Mul"),
    "Add, PRelu, Add": residual_slopes,
    "x + SiLU": residual_silu,
    "Sigmoid * Tanh": gated,
}


def differences(graph: IntegerGraph, frame: Array) -> dict[str, int]:
    """Return by engine how many values are not the reference's."""
    expected = run_graph(graph, [frame])[graph.outputs[0]]
    found = {}
    for engine in ENGINES:
        with artefact.opened(engine, graph) as opened:
            found[engine] = int(np.count_nonzero(opened.run([frame])[0] != expected))
    return found


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.parametrize("seed", range(4))
def test_every_code_gives_the_same_integer_everywhere(name: str, seed: int) -> None:
    frame = Frame(seed)
    assert differences(frame.integers(OF_ONE[name](frame)), codes()) == dict.fromkeys(ENGINES, 0)


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("seed", range(3))
def test_every_pair_of_codes_gives_the_same_integer_everywhere(name: str, seed: int) -> None:
    frame = Frame(seed, channels=2, size=256)
    assert differences(frame.integers(OF_TWO[name](frame)), pairs()) == dict.fromkeys(ENGINES, 0)


def test_a_change_to_nearly_the_same_grid_is_made() -> None:
    """OpenVINO drops a FakeQuantize that changes its input by less than a step."""
    frame = Frame(0)
    low, high = frame.ends[frame.x]
    y = frame.node("Requantize", [frame.x])
    frame.ends[y] = (low * 1.003, high * 1.003)
    assert differences(frame.integers(y), codes()) == dict.fromkeys(ENGINES, 0)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("size", [24, 40, 12, 33])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_halves_between_pixels_are_rounded_up(engine: str, size: int, coordinates: str) -> None:
    """Of 16 pixels 24, by a factor of 1.5: positions are sixths, which float32 does not hold."""
    frame = Frame(1)
    sizes = (1, CHANNELS, size, size)
    given = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    graph = frame.integers(frame.node("Resize", [frame.x], sizes, **given))
    noise = frame.random.permuted(codes(), axis=2)
    expected = run_graph(graph, [noise])[graph.outputs[0]]
    with artefact.opened(engine, graph) as opened:
        np.testing.assert_array_equal(opened.run([noise])[0], expected)
