"""Moves the scales of activations to where rules 2, 3 and 5 of `edgecnn.quant.portable` want them.

A rule asks for a ratio of scales. Scales that a rule has tied together are a `Knot`, and move together from then on, by
one factor, which keeps all ratios inside. So rule 3 can be kept wherever an operator stands: where its output is summed
or concatenated with others, its input moves instead, or all that the sum is made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgecnn.affine import grid_for_range
from edgecnn.ops import FloatNode
from edgecnn.quant.placement import Placement, Range, module_of
from edgecnn.quant.portable import DENOMINATOR, Doubles, odd_ratios, with_scale
from edgecnn.tensor import QuantParams

ADDITIONS = ("Add", "Sub")
RESCALES = ("LeakyRelu", "PRelu", "ReduceMean", "Requantize")
CLEAR = 2e-4
"""How far a result must stay from the middle between two integers; float32 errs by some 5e-5."""
STEP, STEPS = 1e-4, 200
CANDIDATES = 16


def settle(
    placement: Placement, hulls: Mapping[str, Range], grids: Mapping[str, QuantParams]
) -> dict[str, QuantParams]:
    """Return ``grids`` with scales moved, and those of the constants that are added or subtracted.

    Args:
        placement: Which tensors share a grid.
        hulls: The ranges to keep, by group.
        grids: Grids by group, those of ``placement.fixed`` among them.

    Returns:
        Grids by group, and by `constant_label` of a constant.
    """
    constants = {label: ends for node in placement.nodes for label, ends in _added_constants(node)}
    hulls = {**hulls, **constants}
    before = {**grids, **{label: grid_for_range(*ends) for label, ends in constants.items()}}
    knots = _Knots(placement, hulls, before)
    for node in placement.nodes:
        knots.tie(node)
    moved = {root: scale for root, scale in knots.scales.items() if scale != before[root].scale[0]}
    return before | {root: with_scale(hulls[root], scale) for root, scale in moved.items()}


def constant_label(name: str, node: FloatNode) -> str:
    """Return what constant ``name`` is called as an operand of ``node``: every reader has its own."""
    return f"{name}@{node.output}"


def _added_constants(node: FloatNode) -> Iterator[tuple[str, Range]]:
    for name in node.inputs if node.op in ADDITIONS else ():
        if name in node.constants:
            values = node.constants[name].astype(np.float32)
            yield constant_label(name, node), (float(values.min()), float(values.max()))


@dataclass(eq=False)
class Knot:
    """Groups of tensors whose scales move together.

    Attributes:
        roots: The groups.
        pinned: Whether none may move any more.
    """

    roots: set[str]
    pinned: bool = False


@dataclass
class _Knots:
    """All scales, and how they are tied; set up with rules 2 and 5 kept."""

    placement: Placement
    hulls: Mapping[str, Range]
    grids: Mapping[str, QuantParams]
    scales: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.scales = {root: grid.scale[0] for root, grid in self.grids.items()}
        clamps = self.placement.clamps.items()
        self._bound = {self.placement.group(name) for name, (_, high) in clamps if np.isfinite(high)}
        self._curves = [node for node in self.placement.nodes if node.op in CURVES]
        self._of = {root: Knot({root}, root in self.placement.fixed) for root in self.grids}
        for members, odd in _sums(self.placement):
            self._add_up(members, odd)
        for knot in dict.fromkeys(self._of.values()):
            self._clear_curves(knot)

    def tie(self, node: FloatNode) -> None:
        """Rule 3: move one knot that ``node`` reads or writes, then tie its ends together."""
        activations = _activations(node)
        if node.op not in RESCALES and (node.op != "Mul" or len(activations) != 2):
            return
        inputs, output = [self.placement.group(name) for name in activations], self.placement.group(node.output)
        powers = Counter(self._of[root] for root in inputs)
        powers[self._of[output]] -= 1
        free = [knot for knot, power in powers.items() if power and not knot.pinned]
        movable = [knot for knot in free if abs(powers[knot]) == 1]
        if movable:
            chosen = min(movable, key=lambda knot: (len(knot.roots), output not in knot.roots))
            factor = float(np.prod([self.scales[root] for root in inputs]) / self.scales[output] / _count(node))
            self._move(chosen, factor, powers[chosen])
        self._bind(free, sum(powers[knot] for knot in free) == 0)

    def _add_up(self, members: set[str], odd: set[str]) -> None:
        """Rule 2: make the scales of ``members`` multiples of one unit, odd ones for ``odd``."""
        fixed = [self.scales[root] for root in members if root in self.placement.fixed]
        free = [root for root in members if root not in self.placement.fixed]
        # A tensor of zeros is content with any scale; the 1 it was given must not set the unit.
        largest = max((self.scales[root] for root in free if not _empty(self.hulls[root])), default=1.0)
        unit = _unit(largest / DENOMINATOR, fixed)
        for root in free:
            scale = largest if _empty(self.hulls[root]) else self.scales[root]
            self.scales[root] = _steps(scale / unit, root in odd, root not in self._bound) * unit
        self._bind([self._of[root] for root in free], not fixed)

    def _bind(self, knots: Sequence[Knot], together: bool) -> None:
        """Let ``knots`` move only together from now on, or not at all; one alone has nothing to move with."""
        joined = Knot(
            {root for knot in knots for root in knot.roots}, not together or any(knot.pinned for knot in knots)
        )
        self._of.update(dict.fromkeys(joined.roots, joined))

    def _move(self, knot: Knot, factor: float, power: int) -> None:
        """Scale ``knot`` so that ``factor``, which grows with its scales to ``power``, becomes an odd ratio."""
        ratios = odd_ratios(factor, self._grows(knot) == (power > 0), CANDIDATES)
        self._scale(knot, (ratios / factor) ** power)

    def _clear_curves(self, knot: Knot) -> None:
        """Rule 5: where Sigmoid or Tanh read ``knot``, move it in small steps."""
        if not knot.pinned:
            self._scale(knot, 1 + np.float64(STEP if self._grows(knot) else -STEP) * np.arange(STEPS))

    def _grows(self, knot: Knot) -> bool:
        return not knot.roots & self._bound

    def _scale(self, knot: Knot, factors: Doubles) -> None:
        """Multiply the scales of ``knot`` by the first of ``factors`` with which rule 5 holds, or by the best."""
        best, clearest = 1.0, -1.0
        for factor in map(float, factors):
            clearance = self._clearance(knot, factor)
            if clearance > clearest:
                best, clearest = factor, clearance
            if clearance > CLEAR:
                break
        self.scales.update({root: self.scales[root] * best for root in knot.roots})

    def _clearance(self, knot: Knot, factor: float) -> float:
        """Return how near a middle Sigmoid and Tanh come when the scales of ``knot`` are multiplied by ``factor``."""
        distances = [0.5]
        for node in self._curves:
            root = self.placement.group(node.inputs[0])
            if root in knot.roots:
                grid = with_scale(self.hulls[root], self.scales[root] * factor)
                distances.append(distance_from_middles(node.op, grid))
        return min(distances)


def _sigmoid(real: Doubles) -> Doubles:
    return np.asarray((1 + np.tanh(real / 2)) / 2)


CURVES: Mapping[str, Callable[[Doubles], Doubles]] = {"Sigmoid": _sigmoid, "Tanh": np.tanh}


def distance_from_middles(op: str, grid: QuantParams) -> float:
    """Return how near a middle between two integers the results of all 256 inputs come, 0 .. 0.5.

    Args:
        op: One of `CURVES`.
        grid: The input's grid.
    """
    target = module_of(op).FIXED
    real = (np.arange(256) - grid.zero_point) * np.float64(np.float32(grid.scale[0]))
    steps = CURVES[op](real) / target.scale[0]
    below = np.floor(steps)
    # The last middle lies beyond the grid: both its sides saturate.
    inside = below < 255 - target.zero_point
    return float(np.abs(steps - below - 0.5)[inside].min(initial=0.5))


def _sums(placement: Placement) -> list[tuple[set[str], set[str]]]:
    """Return, for each set of groups and constants that additions connect, the set and those that must be odd.

    These are the outputs, and what a change of grid writes that leads from the set to itself.
    """
    sums: list[tuple[set[str], set[str]]] = []
    for node in placement.nodes:
        if node.op not in ADDITIONS:
            continue
        odd = {placement.group(node.output)}
        members = odd | {placement.group(name) for name in _activations(node)}
        members |= {label for label, _ in _added_constants(node)}
        for other in [item for item in sums if item[0] & members]:
            members, odd = members | other[0], odd | other[1]
            sums.remove(other)
        sums.append((members, odd))
    for node in placement.nodes:
        if node.op in RESCALES:
            ends = {placement.group(name) for name in (node.inputs[0], node.output)}
            for members, odd in sums:
                odd.update({placement.group(node.output)} if ends <= members else ())
    return sums


def _unit(wanted: float, fixed: Sequence[float]) -> float:
    """Return a unit of about ``wanted`` of which the finest of the ``fixed`` scales is a multiple."""
    return min(fixed) / max(round(min(fixed) / wanted), 1) if fixed else wanted


def _steps(exact: float, odd: bool, up: bool) -> float:
    rounded = np.ceil(exact - 1e-6) if up else np.floor(exact + 1e-6)
    if odd and rounded % 2 == 0:
        rounded += 1 if up else -1
    return float(max(rounded, 1.0))


def _empty(hull: Range) -> bool:
    return max(hull[1], -hull[0], 0.0) < 255 * float(np.finfo(np.float32).tiny)


def _activations(node: FloatNode) -> list[str]:
    return [name for name in node.inputs if name and name not in node.constants]


def _count(node: FloatNode) -> int:
    """Return how many values ``node`` takes the mean of."""
    return int(np.prod(node.shape(0)) / np.prod(node.output_shape)) if node.op == "ReduceMean" else 1
