"""Knows how every tensor of the graph lies in the file, and moves data only where a reader needs it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecnn.export.tflite.layout import View, move, reshaped, stored
from edgecnn.export.tflite.model import FileModel
from edgecnn.integer_graph import Array, Attribute
from edgecnn.tensor import QuantParams


@dataclass(frozen=True)
class LayoutMove:
    """A TRANSPOSE that no layout tracking could avoid.

    Attributes:
        node: Node of the integer graph that needed it, ``"output"`` for a graph output.
        tensor: The tensor that was moved.
        shape: Its shape as it was permuted.
        perm: The permutation.
    """

    node: str
    tensor: str
    shape: tuple[int, ...]
    perm: tuple[int, ...]


class Tracker:
    """Views of the graph's activations, and the RESHAPE and TRANSPOSE operators that bring them where they are read.

    Attributes:
        file: The TFLite model under construction.
        views: How every activation lies, by its name in the graph.
        moves: The TRANSPOSE operators that were needed.
        node: The node being lowered, ``"input"`` before and ``"output"`` after all nodes.
    """

    def __init__(self, file: FileModel) -> None:
        self.file = file
        self.views: dict[str, View] = {}
        self.moves: list[LayoutMove] = []
        self.node = "input"
        self._placed: dict[tuple[View, tuple[int, ...]], str] = {}

    def operator(self, op: str, inputs: Sequence[str], output: str, options: Mapping[str, Attribute]) -> None:
        """Add an operator of the node being lowered."""
        self.file.add_operator(self.node, op, inputs, output, options)

    def constant(self, array: Array, quant: QuantParams | None = None, name: str = "") -> str:
        """Add a constant and return its tensor; without a name it is called after the node."""
        return self.file.add_constant(name or f"{self.node}/constant", array, quant)

    def view(self, name: str, rank: int) -> View:
        """Return the view of an activation with leading axes of 1 up to ``rank``."""
        view = self.views[name]
        return replace(view, axes=((),) * (rank - len(view.axes)) + view.axes)

    def reshape(self, view: View, shape: Sequence[int]) -> View:
        """Return ``view`` with another logical shape; data moves only where the new axes cut through the layout."""
        result = reshaped(view, shape)
        if result is not None:
            return result
        order = range(len(view.axes))
        flat = reshaped(stored(self.place(view, order), view.shape, order), shape)
        if flat is None:
            raise ValueError(f"cannot reshape {view.shape} to {tuple(shape)}")
        return flat

    def place(self, view: View, order: Sequence[int]) -> str:
        """Return the tensor that holds ``view`` with its logical axes in ``order``; each is made once."""
        key = (view, tuple(order))
        if key not in self._placed:
            self._placed[key] = self._retype(self.moved(view, order), view.size_in(order))
        return self._placed[key]

    def moved(self, view: View, order: Sequence[int]) -> str:
        """Return a tensor whose memory is that of ``view`` in ``order``, whatever its shape."""
        if view.lies_in(order):
            return view.tensor
        step = move(view, order)
        source = self._retype(view.tensor, step.shape)
        output = self._derived(view.tensor, "transpose", step.result)
        self.operator("TRANSPOSE", [source, self.constant(np.asarray(step.perm, np.int32))], output, {})
        self.moves.append(LayoutMove(self.node, view.tensor, step.shape, step.perm))
        return output

    def _retype(self, tensor: str, shape: Sequence[int]) -> str:
        """Return ``tensor`` with another shape (RESHAPE), or itself where it has that shape."""
        if self.file.tensors[tensor].shape == tuple(shape):
            return tensor
        output = self._derived(tensor, "reshape", shape)
        target = self.constant(np.asarray(shape, np.int32))
        self.operator("RESHAPE", [tensor, target], output, {"new_shape": tuple(shape)})
        return output

    def _derived(self, tensor: str, suffix: str, shape: Sequence[int]) -> str:
        source = self.file.tensors[tensor]
        return self.file.add_tensor(f"{tensor}/{suffix}", shape, source.dtype, source.quant)
