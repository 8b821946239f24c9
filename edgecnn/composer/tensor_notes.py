"""What no grid of 8 bits can hold: channels that dwarf all others, and probabilities that all vanish.

The report shows such layers among its numbers; what makes a model useless is said in words, with the layer's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.tensor import QuantParams

Frame = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

SPREAD = 1000.0
"""How many times larger than the median channel's weights those of a channel may be; 40 occurs in good networks."""
WIDE, NARROW = 64.0, 8.0
"""Steps of the grid: what an outlier fills at least, and what it leaves at most to the others. In good networks the
second widest channel has 17 or more."""
FEW = 32
"""One channel of so many may be an outlier, but always one."""
STEP = 1 / 256
"""The fixed step of probabilities; half of it is what becomes 0."""


@dataclass
class _Seen:
    """Smallest and largest value of every channel (axis 1) of a tensor."""

    low: Doubles
    high: Doubles

    def widen(self, other: _Seen) -> None:
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)


def tensor_notes(graph: IntegerGraph, model: ir.Model, frames: Sequence[Frame], observed: Sequence[str]) -> list[str]:
    """Return what the user should know of single tensors; nothing as a rule.

    Args:
        graph: The integer graph.
        model: The float graph that it was made of.
        frames: Some frames (H, W, C) at the model's size.
        observed: Names of tensors of the float graph that have a grid of their own.
    """
    softmax = [node.output for node in graph.nodes if node.op == "Softmax"]
    own = [name for name in observed if name in graph.tensors and len(graph.spec(name).shape) in (2, 4)]
    seen = _ranges(model, frames, [*own, *softmax])
    notes = dict(_outliers(graph, {name: seen[name] for name in own}))
    notes = dict(_weights(graph)) | notes  # one note a layer: what flows says more than what is stored
    return [*notes.values(), *_vanishing(graph, {name: seen[name] for name in softmax}, len(frames))]


def _ranges(model: ir.Model, frames: Sequence[Frame], names: Sequence[str]) -> dict[str, _Seen]:
    if not names:
        return {}
    run, entry = FloatModel(model, outputs=names), str(model.graph.inputs[0].name)
    seen: dict[str, _Seen] = {}
    for frame in frames:
        for name, values in zip(names, run({entry: frame[None]}), strict=True):
            axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            found = _Seen(values.min(axes).astype(np.float64), values.max(axes).astype(np.float64))
            if name in seen:
                seen[name].widen(found)
            else:
                seen[name] = found
    return seen


def _outliers(graph: IntegerGraph, seen: dict[str, _Seen]) -> Iterator[tuple[str, str]]:
    """Yield layer and note where one channel, or very few, take the grid for themselves."""
    for node in graph.nodes:
        if node.output not in seen:
            continue
        found = seen[node.output]
        codes = (found.high - found.low) / graph.spec(node.output).grid.scale[0]
        wide, alive = codes >= NARROW, int((codes > 0).sum())
        if codes.max() < WIDE or wide.sum() > max(1, codes.size // FEW) or alive <= wide.sum():
            continue
        channel, rest = int(codes.argmax()), float(codes[~wide].max())
        yield (
            node.name,
            f"{_named(node)}: channel {channel} dwarfs the others: it spans {found.low[channel]:.3g} .. "
            f"{found.high[channel]:.3g}, and leaves {rest:.1f} of 255 steps or less to {alive - int(wide.sum())} other "
            "channel(s). Train with weight decay or batch normalisation, or scale the channel in the layers around it.",
        )


def _weights(graph: IntegerGraph) -> Iterator[tuple[str, str]]:
    """Yield layer and note where the weights of one channel are out of all proportion to the others."""
    for node in graph.nodes:
        for name in node.inputs[1:2]:
            if name not in graph.constants or graph.spec(name).grid.axis is None:
                continue
            sizes = _largest(graph.constants[name], graph.spec(name).grid)
            channel, median = int(sizes.argmax()), float(np.median(sizes[sizes > 0])) if sizes.any() else 0.0
            if sizes[channel] > SPREAD * median:
                yield (
                    node.name,
                    f"{_named(node)}: its weights span too much for 8 bits: those of channel {channel} reach "
                    f"{sizes[channel]:.3g}, those of the median channel {median:.3g}. What the smaller channels say is "
                    "lost on the layer's grid. Check the training: batch normalisation may have diverged.",
                )


def _largest(weights: Array, grid: QuantParams) -> Doubles:
    """Return the largest magnitude of every channel's weights; 0 for a dead one, whatever its scale."""
    rows = np.moveaxis(weights, grid.axis or 0, 0).reshape(len(grid.scale), -1).astype(np.float64)
    return np.asarray(np.abs(rows).max(1) * grid.scales, np.float64)


def _vanishing(graph: IntegerGraph, seen: dict[str, _Seen], frames: int) -> Iterator[str]:
    for node in graph.nodes:
        if node.output not in seen:
            continue
        largest = float(seen[node.output].high.max())
        if largest < STEP / 2:
            yield (
                f"{_named(node)}: all its probabilities lie below 1/512 on the {frames} frame(s) looked at, the "
                f"largest is {largest:.2g}. In steps of 1/256 they are all 0, and nothing can be decided by them. "
                "Export the model without this Softmax: raw scores order classes in the same way."
            )


def _named(node: IntegerNode) -> str:
    return f"{node.op} '{node.source[0] if node.source else node.name}'"
