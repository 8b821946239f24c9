"""Choose which input channels meet in a pair, so that the limit on pairs costs little; the function stays the same.

Rule 1 of `edgecnn.exact_sums` limits the sum of two paired weights. A row's scale is then set by its worst pair, in
which two large weights of one sign meet. Which ones meet is a matter of order, and the channels of a space (see
`edgecnn.quant.channel_spaces`) may stand in any. For every space by itself the cost of an order is

    sum(price * reach ** 2),   reach = max(1, largest sum of a pair / (largest weight * PAIR / TOP))

over the rows of all layers that read it: ``reach`` is a row's least scale over what it would be without the limit, and
``price`` the share that the square of the latter has in its layer: noise grows with the square of the scale. Rules:

1. The channels with the largest weights choose first. Each gets the partner that adds the least cost, of `CANDIDATES`
   evenly spaced among those that are left; of equals the one with the largest weights.
2. Of an odd number of channels the first stays alone and comes last.
3. A space whose order would not cost less than the one it has stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn import exact_sums
from edgecnn.exact_sums import Rows
from edgecnn.ops import FloatNode
from edgecnn.passes.rewrite import replace_constant
from edgecnn.quant.channel_spaces import FIXED, ChannelSpaces, channel_spaces
from edgecnn.quant.float_graph import read

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
CANDIDATES = 128
"""Looking at all would take 7 % off what the limit still costs on EfficientNet-Lite0, in four times the time."""
POWER = 8
"""Channels choose in the order of the sum of their weights to this power: the large ones make the reaches."""
TINY = float(np.finfo(np.float32).tiny)


def pair(model: ir.Model) -> Mapping[str, Indices]:
    """Reorder the channels of ``model`` in place where that lowers the cost of pairs.

    Args:
        model: Float graph in normal form with one uint8 NHWC input.

    Returns:
        The order of every space that has a new one: the old places of its channels, int64 (channels,).
    """
    found = channel_spaces(read(model))
    orders = {}
    for space in dict.fromkeys(found.spaces.values()):
        readers = found.readers_of(space)
        if space != FIXED and readers:
            lines = Lines.joined([Lines.of(node) for node in readers])
            order = chosen_order(lines)
            if lines.cost(order) < lines.cost(np.arange(order.size)):
                orders[space] = order
    reorder(model, found, orders)
    return orders


def reorder(model: ir.Model, found: ChannelSpaces, orders: Mapping[str, Indices]) -> None:
    """Put the channels of ``model`` in another order: rows and biases of what writes them, columns of what reads them.

    Args:
        model: The graph that ``found`` was made of.
        found: Its spaces.
        orders: New order by space, int64 (channels,): the old place of every channel.
    """
    nodes = {node.outputs[0].name: node for node in model.graph}
    for item in found.followers:
        content = item.node.constants[item.node.inputs[item.index]]
        moved = {axis: orders[found.spaces[name]] for axis, name in item.axes.items() if found.spaces[name] in orders}
        for axis, order in moved.items():
            content = content.take(order, axis)
        if moved:
            replace_constant(nodes[item.node.output], item.index, content, "paired")


@dataclass(frozen=True)
class Lines:
    """What the channels of a space bring into pairs; a line is one kernel tap of one row.

    Attributes:
        weight: float32 (channels, lines), such that the sum of a pair is the reach that it asks for.
        row: The row that a line belongs to, int64 (lines,), ascending without gaps.
        price: What a row's squared reach costs, float32 (rows,).
    """

    weight: Floats
    row: Indices
    price: Floats

    @classmethod
    def of(cls, node: FloatNode) -> Lines:
        """Return the lines of a layer without groups."""
        weight = node.constants[node.inputs[1]].astype(np.float32)
        matrix = Rows(node.op, 1, weight.shape).split(weight)[0]
        largest = np.abs(matrix).max(axis=1)
        unit = np.maximum(largest, TINY)[:, None] * (exact_sums.PAIR / exact_sums.TOP)
        taps = int(np.prod(weight.shape[2:]))
        lines = (matrix / unit).astype(np.float32).reshape(len(matrix), -1, taps).transpose(1, 0, 2)
        share = largest / max(float(largest.max()), TINY)  # squares of weights may leave float32
        price = share**2 / max(float(np.square(share).sum()), TINY)
        return cls(lines.reshape(len(lines), -1), np.arange(len(matrix)).repeat(taps), price)

    @classmethod
    def joined(cls, parts: Sequence[Lines]) -> Lines:
        """Return the lines of several layers that read the same channels."""
        first = np.cumsum([0, *(part.price.size for part in parts)])
        rows = [part.row + start for part, start in zip(parts, first[:-1], strict=True)]
        prices = np.concatenate([part.price for part in parts])
        return cls(np.concatenate([part.weight for part in parts], axis=1), np.concatenate(rows), prices)

    def cost(self, order: Indices) -> float:
        """Return the cost of an order of the channels; see this module."""
        paired = order[: order.size // 2 * 2]
        sums = self.weight[paired[::2]] + self.weight[paired[1::2]]
        reach, _ = _reaches(sums, self.row)
        return float(np.square(reach.max(axis=0, initial=1.0)) @ self.price)


def chosen_order(lines: Lines) -> Indices:
    """Return the order of channels that rules 1 and 2 of this module make, int64 (channels,)."""
    danger = np.abs(lines.weight) ** POWER @ lines.price[lines.row]
    ranking = np.argsort(-danger, kind="stable")
    ranked = Lines(lines.weight[ranking], lines.row, lines.price)
    # What is still to come can bring no more than this into a line.
    ahead = np.maximum.accumulate(np.abs(ranked.weight)[::-1], axis=0)[::-1]
    reach = np.ones(lines.price.size, np.float32)
    left, order = list(range(ranking.size)), []
    alone = [left.pop(0)] if ranking.size % 2 else []
    while left:
        first = left.pop(0)
        live = np.flatnonzero(np.abs(ranked.weight[first]) + ahead[left[0]] > reach[lines.row])
        others = left[:: -(-len(left) // CANDIDATES)]
        partner = others[_cheapest(ranked, first, np.asarray(others), live, reach)] if live.size else left[0]
        left.remove(partner)
        order += [first, partner]
    return ranking[order + alone]


def _cheapest(lines: Lines, first: int, others: Indices, live: Indices, reach: Floats) -> int:
    """Return which of ``others`` to pair ``first`` with, looking at the lines ``live``; take it in at ``reach``."""
    sums = lines.weight[first, live] + lines.weight[np.ix_(others, live)]
    asked, rows = _reaches(sums, lines.row[live])
    asked = np.maximum(asked, reach[rows])
    best = int((np.square(asked) @ lines.price[rows]).argmin())
    reach[rows] = asked[best]
    return best


def _reaches(sums: Floats, row: Indices) -> tuple[Floats, Indices]:
    """Return the largest magnitude of ``sums`` (pairs, lines) in every row, (pairs, rows), and these rows."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return np.maximum.reduceat(np.abs(sums), starts, axis=1), row[starts]
