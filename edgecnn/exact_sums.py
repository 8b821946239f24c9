"""Weights whose products no kernel adds up wrongly: the same integers on every processor.

Engines multiply uint8 activations by int8 weights and add the products up in int32. On the way there, and in int32
itself, a sum can leave its range. Whether it can depends on the weights alone, so the weights exclude it. Rules, for
the integer weights of every Conv, ConvTranspose and Gemm:

1. The two weights of a pair have a sum of at most `PAIR` in magnitude. x86 processors without VNNI add the products of
   a pair in 16 bits, which saturate (instruction VPMADDUBSW): ``255 * 128`` is less than ``2**15``, ``255 * 129`` is
   not. The pairs are

   a. the inputs 2j and 2j + 1 of a group at the same kernel tap, and the same along K of a Gemm;
   b. in a Conv with an odd number of inputs a group, also the neighbours 2j and 2j + 1 in the order (kernel height,
      kernel width, input), in which ONNX Runtime, and OpenVINO where there are groups, run through them.

   A depthwise Conv, with one input and one output a group, has none. The limit belongs to the pair: of two weights, one
   may have all 8 bits. These are all the pairs there are: ``tests/runtime/engines/test_pairs.py`` asks the
   engines, with one output channel for every two weights of a layer.
2. ``255 * sum(|w|) + |bias|`` stays below ``2**31``, so that no order of additions wraps around.

Where 32 bits accumulate from the start (ARM, VNNI, XNNPACK everywhere), rule 1 is not needed. It holds there as well,
so that one artefact serves all; what it costs is in the report, and in ``docs/accuracy.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode

WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
TOP = 127
"""Largest magnitude of a weight: the int8 range is taken as symmetric."""
PAIR = 128
"""Largest magnitude of the sum of a pair."""
LARGEST_INPUT = 255
LARGEST_SUM = 2**31 - 1
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True)
class Rows:
    """A layer's weight as matrices, one row an output channel.

    A Conv with ``g`` groups is ``g`` products of a (O/g, K) matrix with columns of K inputs, K = C/g * kh * kw in this
    order; a Gemm is one. A ConvTranspose is taken as a convolution whose taps all meet at one output.

    Attributes:
        op: One of `WEIGHTED`.
        group: Number of groups, 1 for a Gemm.
        shape: Shape of the weight as the operator has it.
    """

    op: str
    group: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, node: IntegerNode, shape: tuple[int, ...]) -> Rows:
        """Return the rows of a node of `WEIGHTED` whose weight has ``shape``."""
        return cls(node.op, 1 if node.op == "Gemm" else node.integer("group"), shape)

    def split(self, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return ``weight`` as (groups, O / groups, K)."""
        if self.op != "ConvTranspose":
            return weight.reshape(self.group, weight.shape[0] // self.group, -1)
        inputs, outputs = weight.shape[0] // self.group, weight.shape[1]
        parts = weight.reshape(self.group, inputs, outputs, -1)
        return parts.transpose(0, 2, 1, 3).reshape(self.group, outputs, -1)

    def join(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Undo `split`."""
        if self.op != "ConvTranspose":
            return matrix.reshape(self.shape)
        parts = matrix.reshape(self.group, self.shape[1], self.shape[0] // self.group, -1)
        return parts.transpose(0, 2, 1, 3).reshape(self.shape)

    def partners(self) -> Indices:
        """Return for every place of a row with whom it forms a pair, int64 (pairings, K); itself where with none."""
        taps = int(np.prod(self.shape[2:]))
        inputs = self.shape[1] if self.op != "ConvTranspose" else self.shape[0] // self.group
        outputs = self.shape[0] // self.group
        found = []
        if inputs > 1:
            found.append(_neighbours(np.arange(inputs * taps).reshape(inputs, taps)))
        if self.op == "Conv" and inputs % 2 and taps > 1 and (inputs, outputs) != (1, 1):
            found.append(_neighbours(np.arange(inputs * taps).reshape(inputs, taps).T.reshape(-1, 1)))
        return np.stack(found) if found else np.empty((0, inputs * taps), np.int64)


def _neighbours(places: Indices) -> Indices:
    """Pair row 2j of ``places`` with row 2j + 1; a last row without a neighbour pairs with itself."""
    mates = np.arange(len(places)) ^ 1
    mates[mates == len(places)] -= 1
    partners: Indices = np.empty(places.size, np.int64)
    partners[places] = places[mates]
    return partners


def pair_sums(rows: npt.NDArray[Number], mates: Indices) -> npt.NDArray[Number]:
    """Return the magnitude of every pair's sum in ``rows`` (..., K) at both places, 0 where one has no mate."""
    sums: npt.NDArray[Number] = np.abs(rows + rows[..., mates]) * (mates != np.arange(mates.size))
    return sums


def least_scales(weight: Doubles, partners: Indices) -> Doubles:
    """Return the least scale of each row on which rounding to nearest keeps rule 1, 0 for a row of zeros.

    Rounding moves the sum of a pair by less than one step, or by one at a tie: real sums up to `PAIR` are enough.

    Args:
        weight: Real weights (channels, K).
        partners: See `Rows.partners`.
    """
    least: Doubles = np.abs(weight).max(axis=1) / TOP
    for mates in partners:
        least = np.maximum(least, pair_sums(weight, mates).max(axis=1) / PAIR)
    return least


def nearest(steps: Doubles, partners: Indices) -> Doubles:
    """Round ``steps`` (..., K), in units of each row's scale, to the nearest integers that keep rule 1.

    A pair that is too large gives up the excess in equal parts, which is nearest in the sum of squares.
    """
    wanted: Doubles = np.clip(steps, -TOP, TOP)
    integers: Doubles = np.rint(wanted)
    for mates in partners:
        sums = integers + integers[..., mates]
        at = np.nonzero((np.abs(sums) > PAIR) & (mates > np.arange(mates.size)))
        if not at[0].size:
            continue
        mate = (*at[:-1], mates[at[-1]])
        share = np.rint(shared(np.abs(wanted[at]), np.abs(wanted[mate])))
        kept = np.minimum(share, np.abs(integers[at]))
        left = np.minimum(PAIR - kept, np.abs(integers[mate]))
        # Who has given something up in this pairing wants no more in the next.
        wanted[at] = integers[at] = np.copysign(kept, integers[at])
        wanted[mate] = integers[mate] = np.copysign(left, integers[mate])
    return integers


def shared(first: Doubles, second: Doubles) -> Doubles:
    """Return what is left of ``first`` when two magnitudes give up equally what they exceed `PAIR` by."""
    left: Doubles = first - (first + second - PAIR) / 2
    return left


def largest_pairs(integers: Array, partners: Indices) -> npt.NDArray[np.int64]:
    """Return the largest magnitude of the sum of a pair in each row of ``integers`` (..., K), 0 without pairs."""
    wide = integers.astype(np.int64)
    largest = np.zeros(wide.shape[:-1], np.int64)
    for mates in partners:
        largest = np.maximum(largest, pair_sums(wide, mates).max(axis=-1))
    return largest


def bias_room(integers: Array) -> npt.NDArray[np.int64]:
    """Return how large the bias of each row of ``integers`` (..., K) may be by rule 2; negative where none fits."""
    room: npt.NDArray[np.int64] = LARGEST_SUM - LARGEST_INPUT * np.abs(integers.astype(np.int64)).sum(axis=-1)
    return room


def fitting_bias(graph: IntegerGraph, node: IntegerNode, bias: Doubles) -> npt.NDArray[np.int32]:
    """Return ``bias``, wanted for ``node``, as int32 and cut off where rule 2 ends."""
    layout = Rows.of(node, graph.spec(node.inputs[1]).shape)
    room = np.maximum(bias_room(layout.split(graph.constants[node.inputs[1]])).ravel(), 0)
    return np.clip(bias, -room, room).astype(np.int32)


def broken_pairs(graph: IntegerGraph) -> list[tuple[IntegerNode, str]]:
    """Return the layers that break rule 1, in order of execution, each with what is wrong in one sentence."""
    found = []
    for node, layout, integers in _layers(graph):
        largest = int(largest_pairs(integers, layout.partners()).max())
        if largest > PAIR:
            found.append((node, f"two paired weights add up to {largest}, and at most {PAIR} is exact everywhere."))
    return found


def broken_sums(graph: IntegerGraph) -> list[tuple[IntegerNode, str]]:
    """Return the layers that break rule 2, like `broken_pairs`."""
    found = []
    for node, _, integers in _layers(graph):
        beyond = np.abs(graph.constants[node.inputs[2]].astype(np.int64)) - bias_room(integers).ravel()
        if beyond.max() > 0:
            found.append((node, f"the sums of output channel {int(beyond.argmax())} can leave int32."))
    return found


def _layers(graph: IntegerGraph) -> Iterator[tuple[IntegerNode, Rows, Array]]:
    """Yield every layer with its weights as `Rows.split` returns them."""
    for node in graph.nodes:
        if node.op in WEIGHTED:
            layout = Rows.of(node, graph.spec(node.inputs[1]).shape)
            yield node, layout, layout.split(graph.constants[node.inputs[1]])
