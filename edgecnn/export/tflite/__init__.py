"""Full-integer TFLite from the canonical integer graph, with exactly its scales and zero points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgecnn.export.tflite.reader import read_grids
from edgecnn.export.tflite.writer import Writer
from edgecnn.integer_graph import IntegerGraph

__all__ = ["read_grids", "to_bytes", "write"]


def to_bytes(graph: IntegerGraph, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return ``graph`` as the bytes of a TFLite file; the same graph gives the same bytes.

    Args:
        graph: The canonical integer graph.
        metadata: Text values, written as JSON in the metadata entry ``edgecnn``; ``model``, ``producer`` and ``labels``
            (one a line) also go to TFLite's own metadata.

    Raises:
        UnsupportedError: With all nodes that TFLite cannot express exactly.
    """
    writer = Writer(graph)
    writer.lower()
    return writer.to_bytes(metadata)


def check(graph: IntegerGraph) -> None:
    """Lower ``graph`` and throw the result away.

    Raises:
        UnsupportedError: With all nodes that TFLite cannot express exactly.
    """
    Writer(graph).lower()


def write(graph: IntegerGraph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``graph`` to ``path`` as TFLite; nothing is written if a node is refused.

    Raises:
        UnsupportedError: With all nodes that TFLite cannot express exactly.
    """
    path.write_bytes(to_bytes(graph, metadata))
