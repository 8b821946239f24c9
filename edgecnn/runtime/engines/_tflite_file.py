"""Whether a ``.tflite`` file is built as one should be, told before an interpreter follows its offsets.

The interpreter's Python package does not verify a file: an offset that points elsewhere, a tensor that there is not or
a constant shorter than its shape is read as it stands. A device has no schema package, so what is needed of the schema
stands here. Sources: FlatBuffers, internals; ``tflite/schema/schema.fbs``, version 3: its field numbers never change.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from edgecnn import limits
from edgecnn.errors import BundleError

_IDENTIFIER = b"TFL3"
_ITEM_BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8, 12: 8, 15: 4, 16: 2}
"""Bytes of an element by the number of its type: FLOAT32, FLOAT16, INT32, UINT8, INT64, BOOL, INT16, INT8, ..."""
_RESHAPE, _SQUEEZE = 17, 30
"""Options that hold a list of integers."""


def check(content: bytes, name: str, largest: int = limits.TENSOR.most) -> None:
    """Refuse a file whose parts do not fit together.

    Args:
        content: The file.
        name: What to call it in messages.
        largest: Most elements of an input or output: an interpreter allocates them before anybody can ask their shape.

    Raises:
        BundleError: If it is damaged or hostile, or no such file.
    """
    try:
        _Model(_Reader(content), largest).check()
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(f"{name}: it is no TFLite file, or damaged: {error}.") from error


@dataclass(frozen=True)
class _Table:
    """A table at a known place, its fields found by number."""

    reader: _Reader
    at: int
    places: tuple[int, ...]

    def place(self, field: int) -> int:
        """Return where a field stands, 0 where it is left out."""
        return self.places[field] if field < len(self.places) else 0

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a number."""
        place = self.place(field)
        return int(self.reader.number(form, place)) if place else default

    def numbers(self, field: int, form: str) -> tuple[int, ...]:
        """Return a list of numbers."""
        place = self.place(field)
        return self.reader.numbers(form, self.reader.follow(place)) if place else ()

    def bytes_of(self, field: int, item: int = 1) -> int:
        """Return how many bytes a list of items of this size holds."""
        place = self.place(field)
        return self.reader.items(self.reader.follow(place), item) * item if place else 0

    def text(self, field: int) -> None:
        """Check that a text ends where it should."""
        self.bytes_of(field)

    def table(self, field: int) -> _Table | None:
        """Return a table inside this one."""
        place = self.place(field)
        return self.reader.table(self.reader.follow(place)) if place else None

    def tables(self, field: int) -> list[_Table]:
        """Return a list of tables."""
        place = self.place(field)
        if not place:
            return []
        start = self.reader.follow(place)
        count = self.reader.items(start, 4)
        limits.NODES.check(count, "a .tflite", BundleError)
        return [self.reader.table(self.reader.follow(start + 4 + 4 * index)) for index in range(count)]


class _Reader:
    """Reads inside the file and nowhere else."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        if content[4:8] != _IDENTIFIER:
            raise ValueError("its identifier is missing")

    def number(self, form: str, at: int) -> float:
        """Return a number of a `struct` form."""
        if at < 0:
            raise ValueError("an offset points before the file")
        value: float = struct.unpack_from(f"<{form}", self.content, at)[0]
        return value

    def numbers(self, form: str, at: int) -> tuple[int, ...]:
        """Return the list of numbers at ``at``."""
        count = self.items(at, struct.calcsize(form))
        return struct.unpack_from(f"<{count}{form}", self.content, at + 4)

    def follow(self, at: int) -> int:
        """Return where the offset at ``at`` points."""
        offset = int(self.number("I", at))
        if offset == 0 or at + offset + 4 > len(self.content):
            raise ValueError("an offset points out of the file")
        return at + offset

    def items(self, at: int, size: int) -> int:
        """Return how many items of ``size`` bytes the list at ``at`` holds."""
        count = int(self.number("I", at))
        if at + 4 + count * size > len(self.content):
            raise ValueError("a list ends behind the file")
        return count

    def table(self, at: int) -> _Table:
        """Return the table at ``at``; its list of fields and its own bytes lie inside the file."""
        fields = at - int(self.number("i", at))
        size, extent = int(self.number("H", fields)), int(self.number("H", fields + 2))
        if at % 4 or size < 4 or size % 2 or extent < 4 or at + extent > len(self.content):
            raise ValueError("a table ends behind the file")
        offsets = struct.unpack_from(f"<{size // 2 - 2}H", self.content, fields + 4)
        if any(offset and not 4 <= offset < extent for offset in offsets):
            raise ValueError("a field lies outside its table")
        return _Table(self, at, tuple(at + offset if offset else 0 for offset in offsets))


class _Model:
    """The file's root table, and what is the same for all graphs."""

    def __init__(self, reader: _Reader, largest: int) -> None:
        self.largest = largest
        root = reader.table(reader.follow(0))
        self.codes, self.graphs = root.tables(1), root.tables(2)
        self.buffers = [_buffer(table) for table in root.tables(4)]
        self.root = root

    def check(self) -> None:
        """Check every part of the file."""
        if self.root.number(0, "I") != 3 or len(self.graphs) != 1:
            raise ValueError("expected version 3 of the format and one graph")
        self.root.text(3)
        self._within(self.root.numbers(5, "i"), len(self.buffers), "buffer")
        for code in self.codes:
            code.text(1)
        for entry in self.root.tables(6):
            entry.text(0)
            self._within([entry.number(1, "I")], len(self.buffers), "buffer")
        tensors = self._check_graph(self.graphs[0])
        for signature in self.root.tables(7):
            signature.text(2)
            for named in (*signature.tables(0), *signature.tables(1)):
                named.text(0)
                self._within([named.number(1, "I")], tensors, "tensor")

    def _check_graph(self, graph: _Table) -> int:
        tensors = graph.tables(0)
        graph.text(4)
        filled = {index for index, tensor in enumerate(tensors) if self._check_tensor(tensor)}
        inputs, outputs = graph.numbers(1, "i"), graph.numbers(2, "i")
        self._within((*inputs, *outputs), len(tensors), "tensor")
        for index in (*inputs, *outputs):
            shape = tensors[index].numbers(0, "i")
            if math.prod(shape) > self.largest:
                raise ValueError(f"an input or output of shape {shape} is larger than the bundle says")
        ready = filled | set(inputs)
        for operator in graph.tables(3):
            self._check_operator(operator, ready, len(tensors))
        if not set(outputs) <= ready:
            raise ValueError("an output is written by no operator")
        return len(tensors)

    def _check_tensor(self, tensor: _Table) -> bool:
        """Check one tensor; tell whether the file holds its values."""
        shape, kind = tensor.numbers(0, "i"), tensor.number(1, "b")
        tensor.text(3)
        signature = tensor.numbers(7, "i")
        if kind not in _ITEM_BYTES or any(size < 0 for size in shape) or len(signature) not in (0, len(shape)):
            raise ValueError("a tensor has a type or shape that there is not")
        if tensor.place(6) or tensor.number(5, "b") or tensor.place(9):
            raise ValueError("a tensor is sparse, variable or of variants")
        elements = math.prod(shape)
        limits.TENSOR.check(elements, "a tensor of a .tflite", BundleError)
        _check_grid(tensor.table(4), shape)
        index = tensor.number(2, "I")
        self._within([index], len(self.buffers), "buffer")
        if self.buffers[index] and self.buffers[index] != elements * _ITEM_BYTES[kind]:
            raise ValueError(f"a constant of shape {shape} has {self.buffers[index]} bytes")
        return self.buffers[index] > 0

    def _check_operator(self, operator: _Table, ready: set[int], tensors: int) -> None:
        """Check one operator; its outputs are ``ready`` then."""
        inputs, outputs = operator.numbers(1, "i"), operator.numbers(2, "i")
        self._within([operator.number(0, "I")], len(self.codes), "operator")
        self._within([index for index in inputs if index != -1], tensors, "tensor")
        self._within((*outputs, *operator.numbers(8, "i")), tensors, "tensor")
        if not {index for index in inputs if index != -1} <= ready:
            raise ValueError("an operator reads what was not written before")
        if ready & set(outputs) or len(set(outputs)) != len(outputs) or not outputs:
            raise ValueError("an operator writes nothing, or what is there already")
        operator.bytes_of(5)
        operator.bytes_of(7)
        if operator.place(9) or operator.place(10) or operator.place(11) or operator.place(12):
            raise ValueError("an operator keeps its options in a place of newer formats")
        options = operator.table(4)
        if options is not None and operator.number(3, "B") in (_RESHAPE, _SQUEEZE):
            options.numbers(0, "i")
        ready |= set(outputs)

    def _within(self, indices: tuple[int, ...] | list[int], count: int, what: str) -> None:
        if any(not 0 <= index < count for index in indices):
            raise ValueError(f"there is no {what} {max(indices, key=abs)}")


def _buffer(table: _Table) -> int:
    """Return the size of a buffer in bytes."""
    if table.place(1) or table.place(2):
        raise ValueError("a buffer lies outside the tables")
    return table.bytes_of(0)


def _check_grid(grid: _Table | None, shape: tuple[int, ...]) -> None:
    if grid is None:
        return
    for field, size in ((0, 4), (1, 4)):
        grid.bytes_of(field, size)
    scales, zeros = grid.numbers(2, "f"), grid.numbers(3, "q")
    axis = grid.number(6, "i")
    if grid.number(4, "B") or grid.place(5):
        raise ValueError("a grid is of another kind than scale and zero point")
    fits = len(scales) <= 1 or (0 <= axis < len(shape) and len(scales) == shape[axis])
    if not fits or len(zeros) not in (0, 1, len(scales)) or not all(0 < scale < math.inf for scale in scales):
        raise ValueError("a grid does not fit its tensor")
