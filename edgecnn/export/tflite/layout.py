"""How a logical (NCHW) tensor lies in memory, so that a change of layout costs nothing until somebody needs it.

A `View` says of every logical axis which pieces of memory it is made of. The pieces are called atoms: memory is a
row-major block of atoms, and a logical axis is a run of atoms, outermost first. Transposing relabels axes, reshaping
splits or joins runs; neither moves data. Channel shuffle (Reshape, Transpose, Reshape) is three relabellings, and the
flattening of an NHWC map for a Gemm is a run of atoms whose order the Gemm's weight can follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]

CHANNELS_LAST: Shape = (0, 2, 3, 1)


@dataclass(frozen=True)
class View:
    """A logical tensor as it lies in one tensor of the file.

    Attributes:
        tensor: Name of the tensor in the file.
        memory: That tensor's shape in the file.
        atoms: Sizes of the atoms in the order of memory; all are larger than 1.
        axes: For every logical axis, the indices of its atoms, outermost first; an axis of size 1 has none.
    """

    tensor: str
    memory: Shape
    atoms: Shape
    axes: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """The logical shape."""
        return tuple(math.prod(self.atoms[atom] for atom in axis) for axis in self.axes)

    def sequence(self, order: Sequence[int]) -> Shape:
        """Return the atoms in the order in which memory would hold them if it held the axes in ``order``."""
        return tuple(atom for axis in order for atom in self.axes[axis])

    def lies_in(self, order: Sequence[int]) -> bool:
        """Say whether memory already holds the logical axes in ``order``."""
        return self.sequence(order) == tuple(range(len(self.atoms)))

    def size_in(self, order: Sequence[int]) -> Shape:
        """Return the shape of a tensor that holds the logical axes in ``order``."""
        shape = self.shape
        return tuple(shape[axis] for axis in order)


def stored(tensor: str, shape: Sequence[int], order: Sequence[int]) -> View:
    """Return the view of a tensor that holds logical ``shape`` with its axes in ``order``."""
    axes: list[Shape] = [()] * len(shape)
    atoms: list[int] = []
    for axis in order:
        if shape[axis] > 1:
            axes[axis] = (len(atoms),)
            atoms.append(shape[axis])
    return View(tensor, tuple(shape[axis] for axis in order), tuple(atoms), tuple(axes))


def transposed(view: View, perm: Sequence[int]) -> View:
    """Return ``view`` with its logical axes permuted; memory stays as it is."""
    return View(view.tensor, view.memory, view.atoms, tuple(view.axes[axis] for axis in perm))


def reshaped(view: View, shape: Sequence[int]) -> View | None:
    """Return ``view`` with another logical shape, or None where memory would have to move.

    Atoms that follow each other both in memory and in the logical order are one run; the new sizes are cut from the
    runs in turn.
    """
    runs = _runs(view)
    pieces: list[list[int]] = [[] for _ in runs]
    axes: list[list[tuple[int, int]]] = []
    run, left = 0, runs[0][1] if runs else 1
    for size in shape:
        axes.append([])
        while size > 1:
            if left == 1:
                run, left = run + 1, runs[run + 1][1]
            step = min(size, left)
            if max(size, left) % step:
                return None
            axes[-1].append((run, len(pieces[run])))
            pieces[run].append(step)
            left, size = left // step, size // step
    return _with_pieces(view, [first for first, _ in runs], pieces, axes)


def _runs(view: View) -> list[tuple[int, int]]:
    """Return (first atom, size) of every run, in logical order."""
    runs: list[tuple[int, int]] = []
    previous = -2
    for atom in view.sequence(range(len(view.axes))):
        if atom == previous + 1:
            runs[-1] = (runs[-1][0], runs[-1][1] * view.atoms[atom])
        else:
            runs.append((atom, view.atoms[atom]))
        previous = atom
    return runs


def _with_pieces(
    view: View, firsts: Sequence[int], pieces: Sequence[Sequence[int]], axes: Sequence[Sequence[tuple[int, int]]]
) -> View:
    """Number the pieces of the runs in the order of memory and rewrite the axes with these numbers."""
    start: dict[int, int] = {}
    atoms: list[int] = []
    for run in sorted(range(len(firsts)), key=lambda index: firsts[index]):
        start[run] = len(atoms)
        atoms.extend(pieces[run])
    numbered = tuple(tuple(start[run] + index for run, index in axis) for axis in axes)
    return View(view.tensor, view.memory, tuple(atoms), numbered)


def order_of(view: View) -> Shape | None:
    """Return the order in which memory holds the logical axes, None where an axis lies in scattered pieces.

    Axes of size 1 can stand anywhere: an order that gives the tensor's own shape is preferred, then channels-last,
    then the logical order.
    """
    rank = len(view.axes)
    fixed = [CHANNELS_LAST] if rank == 4 else []
    candidates = [order for order in (*fixed, tuple(range(rank)), _by_memory(view)) if view.lies_in(order)]
    same = [order for order in candidates if view.size_in(order) == view.memory]
    return next(iter(same + candidates), None)


def _by_memory(view: View) -> Shape:
    """Sort the axes by their first atom; an axis of size 1 stays before the axis that follows it logically."""
    keys: list[int] = []
    following = len(view.atoms)
    for axis in reversed(view.axes):
        following = axis[0] if axis else following
        keys.append(following)
    keys.reverse()
    return tuple(sorted(range(len(keys)), key=lambda axis: (keys[axis], axis)))


@dataclass(frozen=True)
class Move:
    """One TRANSPOSE: reshape memory to ``shape``, permute it by ``perm``."""

    shape: Shape
    perm: Shape

    @property
    def result(self) -> Shape:
        """Shape after the permutation."""
        return tuple(self.shape[axis] for axis in self.perm)


def move(view: View, order: Sequence[int]) -> Move:
    """Return the TRANSPOSE of lowest cost that brings memory into ``order``.

    The tensor's own dimensions are permuted where that is enough; else atoms that move together become one dimension,
    so that a channel shuffle of a map is a TRANSPOSE of rank 3 and not of rank 5.
    """
    direct = _direct(view, order)
    if direct is not None:
        return Move(view.memory, direct)
    groups: list[list[int]] = []
    for atom in view.sequence(order):
        if groups and atom == groups[-1][-1] + 1:
            groups[-1].append(atom)
        else:
            groups.append([atom])
    by_memory = sorted(groups)
    shape = tuple(math.prod(view.atoms[atom] for atom in group) for group in by_memory)
    return Move(shape, tuple(by_memory.index(group) for group in groups))


def _direct(view: View, order: Sequence[int]) -> Shape | None:
    """Return the permutation of the tensor's own dimensions that gives ``order``, if there is one."""
    whole = stored(view.tensor, view.memory, range(len(view.memory)))
    if whole.atoms != view.atoms or len(view.memory) != len(order) or len(order) > 4:
        return None
    ones = iter([axis for axis, atoms in enumerate(whole.axes) if not atoms])
    where = {atoms: axis for axis, atoms in enumerate(whole.axes) if atoms}
    if any(view.axes[axis] and view.axes[axis] not in where for axis in order):
        return None
    return tuple(where[view.axes[axis]] if view.axes[axis] else next(ones) for axis in order)


def positions(view: View, axis: int) -> npt.NDArray[np.int64]:
    """Return, for every index of logical ``axis`` in the order of memory, its logical index.

    ``weight[..., positions(view, axis)]`` is the weight whose columns follow memory.
    """
    atoms = view.axes[axis]
    logical = np.arange(math.prod(view.atoms[atom] for atom in atoms)).reshape([view.atoms[atom] for atom in atoms])
    return logical.transpose(np.argsort(atoms)).reshape(-1)


def absorb(view: View, axis: int, order: Sequence[int]) -> tuple[View, npt.NDArray[np.int64]]:
    """Return a view that lies in ``order`` but for a permutation inside ``axis``, and that permutation (`positions`).

    Where there is no such view, ``view`` itself and no permutation.
    """
    axes = tuple(tuple(sorted(atoms)) if index == axis else atoms for index, atoms in enumerate(view.axes))
    free = View(view.tensor, view.memory, view.atoms, axes)
    return (free, positions(view, axis)) if free.lies_in(order) else (view, np.arange(view.shape[axis]))
