"""Which part of the picture an element of a tensor can depend on.

Sources: Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks" (Distill):
``r_out = r_in + (k - 1) * d * j_in`` and ``j_out = j_in * s``, where r is the field and j the distance in pixels
between neighbouring elements. A path that sees more wins where paths meet. Fields are not cut at the picture's edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from edgecnn.report.network import Network, Shape, Step, Window

Real = tuple[float, float]
Axes = tuple[int | None, int | None]

_REDUCTIONS = ("ReduceMean", "ReduceMax", "GlobalAveragePool", "GlobalMaxPool")
_MATRIX = ("Gemm", "MatMul")
_REGROUPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Field:
    """What one element of a tensor sees, by rows and columns.

    Attributes:
        size: Height and width, in input pixels, of all that it can depend on.
        local: The same without means and maxima over a whole map: what it sees together with where things are.
        jump: Input pixels between neighbouring elements.
        extent: How many rows and columns of elements there are.
        axes: Where these rows and columns are in the tensor; None after flattening.
    """

    size: Real
    local: Real
    jump: Real
    extent: tuple[int, int]
    axes: Axes

    def pixels(self) -> tuple[int, int]:
        """Return `size` in whole pixels."""
        return math.ceil(self.size[0]), math.ceil(self.size[1])


def receptive_fields(network: Network) -> dict[str, Field]:
    """Return the field of every activation that depends on the picture; empty if the input is no picture."""
    size = network.image_size
    if size is None:
        return {}
    fields = {network.inputs[0]: Field((1, 1), (1, 1), (1, 1), size, network.image_axes or (None, None))}
    for step in network.steps:
        seen = [fields[name] for name in step.inputs if name in fields]
        for output in step.outputs if seen else ():
            fields[output] = _after(step, _widest(seen), network.shapes, output)
    return fields


def _widest(fields: list[Field]) -> Field:
    """Join paths: the widest view, on the map of the largest input."""
    largest = max(fields, key=lambda item: math.prod(item.extent))
    return replace(largest, size=_most(item.size for item in fields), local=_most(item.local for item in fields))


def _most(values: Iterable[Real]) -> Real:
    rows, columns = zip(*values, strict=True)
    return max(rows), max(columns)


def _after(step: Step, before: Field, shapes: Mapping[str, Shape], output: str) -> Field:
    source, target = shapes[step.inputs[0]], shapes[output]
    if step.op in _REDUCTIONS:
        return _reduced(step, before, source)
    if step.op in _MATRIX:
        return _multiplied(step, before)
    if step.op in _REGROUPING:
        return _regrouped(before, source, target)
    if step.op == "Transpose":
        perm = step.ints("perm")
        return replace(before, axes=_axes(lambda axis: perm.index(axis), before))
    if step.window is not None:
        before = _slid(step, step.window, before)
    elif step.op == "Resize":
        before = _resized(step, before, source, target)
    elif step.op in ("DepthToSpace", "SpaceToDepth"):
        before = _blocked(step, before)
    elif step.op == "Slice":
        before = _strided(step, before)
    return _measured(before, target)


def _axes(move: Callable[[int], int | None], field: Field) -> Axes:
    rows, columns = (None if axis is None else move(axis) for axis in field.axes)
    return rows, columns


def _measured(field: Field, target: Shape) -> Field:
    """Read the extent off the output's shape."""
    rows, columns = (
        old if axis is None or axis >= len(target) else target[axis]
        for axis, old in zip(field.axes, field.extent, strict=True)
    )
    return replace(field, extent=(rows, columns))


def _slid(step: Step, window: Window, before: Field) -> Field:
    """A window slides over the map; a transposed convolution reads ``ceil(reach / stride)`` inputs an output."""
    reach, strides = window.reach, window.strides
    if step.op == "ConvTranspose":
        taps = [math.ceil(span / stride) for span, stride in zip(reach, strides, strict=True)]
        jump = (before.jump[0] / strides[0], before.jump[1] / strides[1])
        return replace(_grown(before, (taps[0] - 1, taps[1] - 1)), jump=jump)
    steps = (reach[0] - 1, reach[1] - 1)
    whole = "Pool" in step.op and window.kernel == before.extent and window.padding == (0, 0)
    grown = _grown(before, steps, local=not whole)
    return replace(grown, jump=(before.jump[0] * strides[0], before.jump[1] * strides[1]))


def _grown(field: Field, steps: Real, local: bool = True) -> Field:
    """Widen the field by ``steps`` elements; ``local`` says whether their places are told apart."""
    more = (steps[0] * field.jump[0], steps[1] * field.jump[1])
    size = (field.size[0] + more[0], field.size[1] + more[1])
    return replace(
        field, size=size, local=(field.local[0] + more[0], field.local[1] + more[1]) if local else field.local
    )


def _reduced(step: Step, before: Field, source: Shape) -> Field:
    axes = step.ints("axes", tuple(range(2, len(source))))
    hit = [axis is not None and axis in axes for axis in before.axes]
    steps = [(extent - 1) * flag for extent, flag in zip(before.extent, hit, strict=True)]
    extent = [1 if flag else extent for extent, flag in zip(before.extent, hit, strict=True)]
    keeps = step.ints("keepdims", (1,))[0]
    after = replace(_grown(before, (steps[0], steps[1]), local=False), extent=(extent[0], extent[1]))
    return after if keeps else replace(after, axes=_axes(lambda axis: _shifted(axis, axes), before))


def _shifted(axis: int, removed: tuple[int, ...]) -> int | None:
    return None if axis in removed else axis - sum(other < axis for other in removed)


def _multiplied(step: Step, before: Field) -> Field:
    """A matrix over a flattened map weighs every place of it; so does the product of two activations."""
    flattened = before.axes == (None, None)
    if not flattened and len(step.inputs) < 2:
        return before
    grown = _grown(before, (before.extent[0] - 1, before.extent[1] - 1))
    return replace(grown, extent=(1, 1), axes=(None, None))


def _regrouped(before: Field, source: Shape, target: Shape) -> Field:
    """An axis survives where it has the same size and the same number of elements in front of it."""

    def move(axis: int) -> int | None:
        front = math.prod(source[:axis])
        places = (place for place, size in enumerate(target) if size == source[axis] > 1)
        return next((place for place in places if math.prod(target[:place]) == front), None)

    return replace(before, axes=_axes(move, before))


def _resized(step: Step, before: Field, source: Shape, target: Shape) -> Field:
    """Interpolation reads a second row and column where the size changes."""
    linear = step.attributes.get("mode") != "nearest"
    ratios, steps = [], []
    for axis in before.axes:
        same = axis is None or source[axis] == target[axis]
        ratios.append(1.0 if axis is None else source[axis] / target[axis])
        steps.append(0 if same or not linear else 1)
    grown = _grown(before, (steps[0], steps[1]))
    return replace(grown, jump=(before.jump[0] * ratios[0], before.jump[1] * ratios[1]))


def _blocked(step: Step, before: Field) -> Field:
    block = step.ints("blocksize")[0]
    if step.op == "DepthToSpace":
        return replace(before, jump=(before.jump[0] / block, before.jump[1] / block))
    grown = _grown(before, (block - 1, block - 1))
    return replace(grown, jump=(before.jump[0] * block, before.jump[1] * block))


def _strided(step: Step, before: Field) -> Field:
    steps = step.ints("steps")
    rows, columns = (
        jump if axis is None or axis >= len(steps) else jump * steps[axis]
        for axis, jump in zip(before.axes, before.jump, strict=True)
    )
    return replace(before, jump=(rows, columns))
