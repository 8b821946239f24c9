"""How much quantisation noise the layers of a float graph get, as a function of the scales of its channels.

All noise is counted where layers write, relative to the signal there, for channels that are multiplied by ``s``:

- A tensor on a grid with step ``d`` gives every channel noise of power ``d^2 / 12``, where it is not zero; a layer
  that reads it multiplies this by the squares of its weights: ``d^2 / 12 * sum W^2 / s^2``.
- A row of weights with step ``d`` gives ``d^2 / 12 * sum (s x)^2``, for weights that are not zero.

A grid spans the hull of all channels on it, so one wide channel makes the noise of all the others; a row's step follows
its largest weight ``W / s``, so channels that are scaled up too far spoil the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.channel_sets import FIXED, Channels, ChannelSets, Layer
from edgecnn.quant.float_graph import FloatGraph
from edgecnn.quant.placement import place

Doubles = npt.NDArray[np.float64]
WEIGHT_SHARE = 4.0
"""How much more a weight's error counts: it is the same at every pixel, so means over pixels do not thin it out."""
TINY = float(np.finfo(np.float32).tiny)


@dataclass
class Seen:
    """What the channels of one tensor were on the frames; all arrays have the shape (channels,).

    Attributes:
        channels: Their numbers, sorted.
        low: Smallest value, at most 0.
        high: Largest value, at least 0.
        power: Mean square.
        mean: Mean.
        used: Share of values that are not zero.
    """

    channels: Channels
    low: Doubles
    high: Doubles
    power: Doubles
    mean: Doubles
    used: Doubles

    @property
    def extent(self) -> Doubles:
        """Largest magnitude."""
        return np.maximum(-self.low, self.high)


@dataclass(frozen=True)
class Gridded:
    """A tensor that is rounded to a grid.

    Attributes:
        name: Its name.
        group: The tensors that share its grid.
        seen: Its channels.
        gain: What layers behind it make of noise in each channel, relative to their signals.
    """

    name: str
    group: str
    seen: Seen
    gain: Doubles


@dataclass(frozen=True)
class Reader:
    """A layer's weights by row and column, shape (O, I / groups) if not said otherwise.

    Attributes:
        columns: Channel that every column reads, shape (O or 1, I / groups).
        largest: Largest magnitude over the taps.
        energy: Sum of squares over the taps.
        taps: Number of taps that are not zero.
        power: Mean square of what every column reads, shape of ``columns``.
        signal: Power of what the layer writes, all rows together.
    """

    columns: Channels
    largest: Doubles
    energy: Doubles
    taps: npt.NDArray[np.int64]
    power: Doubles
    signal: float

    def noise(self, scales: Doubles) -> float:
        """Noise of the rounded weights over the signal."""
        factors = scales[self.columns]
        step = (self.largest / factors).max(axis=1, keepdims=True) / 127
        error = np.minimum(self.taps * step**2 / 12, self.energy / factors**2)
        return float((error * self.power * factors**2).sum() / self.signal)


@dataclass(frozen=True)
class Part:
    """Channels whose scales depend on one another, with what they decide.

    Attributes:
        channels: Numbers, sorted, without `FIXED`.
        tensors: All tensors on the grids that these channels stand on.
        readers: The layers that read them.
    """

    channels: Channels
    tensors: tuple[Gridded, ...]
    readers: tuple[Reader, ...]

    def noise(self, scales: Doubles) -> float:
        """Noise for ``scales``, one per channel of the graph."""
        spans = self._spans(scales)
        steps = {group: (high - low) / 255 for group, (low, high) in spans.items()}
        rounding = sum(
            steps[item.group] ** 2 / 12 * float((item.gain / scales[item.seen.channels] ** 2).sum())
            for item in self.tensors
        )
        return rounding + WEIGHT_SHARE * sum(reader.noise(scales) for reader in self.readers)

    def _spans(self, scales: Doubles) -> dict[str, tuple[float, float]]:
        spans: dict[str, tuple[float, float]] = {}
        for item in self.tensors:
            factors = scales[item.seen.channels]
            low, high = spans.get(item.group, (0.0, 0.0))
            ends = float((item.seen.low * factors).min()), float((item.seen.high * factors).max())
            spans[item.group] = min(low, ends[0]), max(high, ends[1])
        return spans


def parts(model: ir.Model, graph: FloatGraph, sets: ChannelSets, frames: Sequence[Frame]) -> list[Part]:
    """Run ``frames`` and return the parts of the graph that can be scaled, each on its own."""
    placement = place(graph)
    sources = {name: placement.copies.get(name, name) for name in placement.own}
    groups = {name: placement.group(name) for name in sources}
    moving = {groups[name] for name, source in sources.items() if sets.tensors[source].any()}
    sources = {name: source for name, source in sources.items() if groups[name] in moving}
    layers = {layer.node.output: layer for layer in sets.layers if layer.inputs.any()}
    names = [*sources.values(), *(layer.node.inputs[0] for layer in layers.values())]
    seen = _observe(model, graph, sets, list(dict.fromkeys(names)), frames)
    readers = {name: _reader(layer, seen[layer.node.inputs[0]]) for name, layer in layers.items()}
    behind = _layers_behind(graph, sets)
    tensors = [
        Gridded(
            source,
            groups[name],
            seen[source],
            _gain(seen[source], [readers[o] for o in behind[source] if o in readers]),
        )
        for name, source in sources.items()
    ]
    return _split(sets.count, tensors, list(readers.values()))


def _observe(
    model: ir.Model, graph: FloatGraph, sets: ChannelSets, names: Sequence[str], frames: Sequence[Frame]
) -> dict[str, Seen]:
    seen: dict[str, Seen] = {}
    if not names:
        return seen
    runner = FloatModel(model, threads=2, outputs=names)
    for frame in frames:
        for name, values in zip(names, runner({graph.frame: frame[None]}), strict=True):
            now = _seen(np.asarray(values, np.float32), sets.tensors[name])
            seen[name] = _merged(seen[name], now) if name in seen else now
    for item in seen.values():
        item.power, item.mean, item.used = (total / len(frames) for total in (item.power, item.mean, item.used))
    return seen


def _seen(values: npt.NDArray[np.float32], channels: Channels) -> Seen:
    axes = tuple(axis for axis, size in enumerate(channels.shape) if size == 1)
    numbers, index = np.unique(channels.ravel(), return_inverse=True)
    low, high, share = np.zeros(numbers.size), np.zeros(numbers.size), 1 / np.bincount(index)
    np.minimum.at(low, index, values.min(axis=axes).ravel())
    np.maximum.at(high, index, values.max(axis=axes).ravel())
    means = (np.square(values).mean(axis=axes), values.mean(axis=axes), (values != 0).mean(axis=axes))
    power, mean, used = (np.bincount(index, item.ravel()) * share for item in means)
    return Seen(numbers, low, high, power, mean, used)


def _merged(a: Seen, b: Seen) -> Seen:
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return Seen(a.channels, low, high, a.power + b.power, a.mean + b.mean, a.used + b.used)


def _reader(layer: Layer, seen: Seen) -> Reader:
    weight, columns = layer.weight, layer.columns
    index = np.searchsorted(seen.channels, columns)
    energy = np.square(weight).sum(axis=2)
    spread = np.maximum(seen.power - seen.mean**2, 0.0)[index]
    signal = max(float((energy * spread).sum()), TINY)
    largest, taps = np.abs(weight).max(axis=2), np.count_nonzero(weight, axis=2)
    return Reader(columns, largest, energy, taps, seen.power[index], signal)


def _gain(seen: Seen, readers: Sequence[Reader]) -> Doubles:
    gain = np.zeros(seen.channels.size)
    for reader in readers:
        columns = np.broadcast_to(reader.columns, reader.energy.shape).ravel()
        index = np.minimum(np.searchsorted(seen.channels, columns), seen.channels.size - 1)
        own = seen.channels[index] == columns
        gain += np.bincount(index[own], reader.energy.ravel()[own], gain.size) / reader.signal
    return np.asarray(gain * seen.used)


def _layers_behind(graph: FloatGraph, sets: ChannelSets) -> Mapping[str, set[str]]:
    """Return, by tensor, the outputs of the first layers that its values reach."""
    layers = {layer.node.output for layer in sets.layers}
    behind: dict[str, set[str]] = {name: set() for name in sets.tensors}
    for node in reversed(graph.nodes):
        reached = {node.output} if node.output in layers else behind[node.output]
        for name in node.inputs:
            if name in behind:
                behind[name] |= reached
    return behind


def _split(count: int, tensors: Sequence[Gridded], readers: Sequence[Reader]) -> list[Part]:
    """Split into parts: channels that stand on one grid belong together."""
    label = np.arange(count)
    before = np.zeros_like(label)
    members: dict[str, Channels] = {}
    for item in tensors:
        members[item.group] = np.union1d(members.get(item.group, item.seen.channels[:0]), item.seen.channels)
    while not np.array_equal(label, before):
        before = label.copy()
        for channels in members.values():
            free = channels[channels != FIXED]
            label[free] = label[free].min()
    found = []
    for number in np.unique([label[item.seen.channels[-1]] for item in tensors if item.seen.channels[-1] != FIXED]):
        channels = np.flatnonzero(label == number)
        inside = {group for group, numbers in members.items() if np.isin(numbers, channels).any()}
        found.append(
            Part(
                channels,
                tuple(item for item in tensors if item.group in inside),
                tuple(reader for reader in readers if np.isin(reader.columns, channels).any()),
            )
        )
    return found
