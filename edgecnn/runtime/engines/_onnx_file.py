"""What must be known of an ``.onnx`` file before an engine opens it, without the package onnx: a device has none.

Only the outermost layers of the file are walked; field numbers are those of ``onnx.proto``, which never change.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _INITIALIZER, _SPARSE, _NODE, _ATTRIBUTE, _FUNCTION, _FUNCTION_NODE = 7, 5, 15, 1, 5, 25, 7
_TENSORS, _GRAPHS = (5, 10), (6, 11)
_SPARSE_PARTS = (1, 2)
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DEEPEST = 16


def check(content: bytes, name: str) -> None:
    """Refuse a model that keeps weights in other files: what is in them is read later, and by path.

    Raises:
        BundleError: If it does, or is no such file.
    """
    for model_field, model in _fields(memoryview(content), name):
        if model_field == _GRAPH:
            _check_graph(model, name, 0)
        elif model_field == _FUNCTION:
            for field, node in _fields(model, name):
                if field == _FUNCTION_NODE:
                    _check_node(node, name, 0)


def _check_graph(graph: memoryview, name: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise BundleError(f"{name}: its graphs are nested more than {_DEEPEST} deep.")
    for field, value in _fields(graph, name):
        if field == _NODE:
            _check_node(value, name, depth)
        elif field == _INITIALIZER:
            _check_tensor(value, name)
        elif field == _SPARSE:
            _check_parts(value, _SPARSE_PARTS, name)


def _check_node(node: memoryview, name: str, depth: int) -> None:
    for field, attribute in _fields(node, name):
        if field == _ATTRIBUTE:
            _check_parts(attribute, _TENSORS, name)
            for kind, value in _fields(attribute, name):
                if kind in _GRAPHS:
                    _check_graph(value, name, depth + 1)


def _check_parts(message: memoryview, tensors: tuple[int, ...], name: str) -> None:
    for field, value in _fields(message, name):
        if field in tensors:
            _check_tensor(value, name)


def _check_tensor(tensor: memoryview, name: str) -> None:
    if any(field in (_EXTERNAL_DATA, _DATA_LOCATION) for field, _ in _fields(tensor, name)):
        raise BundleError(f"{name}: it keeps weights in another file; a bundle's model holds all of its own.")


def _fields(message: memoryview, name: str) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of a message's fields; of numbers the content is empty, and a 0 is left out.

    Source: Protocol Buffers, encoding.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at, name)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at, name)
            if value:
                yield key >> 3, message[:0]
            continue
        size, at = (_varint(message, at, name)) if kind == _BYTES else ({_FIXED64: 8, _FIXED32: 4}.get(kind, -1), at)
        if size < 0 or at + size > len(message):
            raise BundleError(f"{name}: it is no ONNX file, or damaged.")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int, name: str) -> tuple[int, int]:
    """Return a number of 7 bits a byte, and where it ends."""
    value = 0
    for count, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise BundleError(f"{name}: it is no ONNX file, or damaged.")
