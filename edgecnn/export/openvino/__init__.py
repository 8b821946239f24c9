"""OpenVINO IR from the canonical integer graph, with exactly its scales and zero points.

The graph is built from OpenVINO's own operators, in the form that its integer kernels are fused from: every tensor is
FakeQuantize -> Convert(u8) -> Convert(f32) -> Subtract(zero point) -> Multiply(scale). Two things differ from what
OpenVINO's ONNX reader makes of the same graph, and both were found by comparing its results with exact arithmetic:

1. Data movement (Transpose, Concat, MaxPool, ...) stands behind the dequantisation, where OpenVINO's low-precision
   passes see through it. In front of it, on the uint8 tensors, it makes the next convolution run in float32.
2. A convolution that an addition reads has a PRelu of slope 1 before its FakeQuantize; see `keep_rounding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino

from edgecnn.export.openvino.grids import read_grids
from edgecnn.export.openvino.writer import Writer
from edgecnn.integer_graph import IntegerGraph

MODEL_INFO = "model_info"


def to_model(graph: IntegerGraph, metadata: Mapping[str, str] | None = None) -> Any:
    """Return ``graph`` as an `openvino.Model`.

    Args:
        graph: The canonical integer graph.
        metadata: Text values for the section ``model_info`` of the model's run-time information, which OpenVINO's
            Model API reads: ``model_type``, ``labels`` (one a line) and so on.

    Raises:
        UnsupportedError: With all nodes that have no OpenVINO form.
    """
    model = Writer(graph).lower()
    for key, value in sorted((metadata or {}).items()):
        model.set_rt_info(_as_words(value) if key == "labels" else value, [MODEL_INFO, key])
    return model


def _as_words(labels: str) -> str:
    """Return labels, one a line, as Model API spells them: separated by spaces, with ``_`` for spaces inside."""
    return " ".join(label.replace(" ", "_") for label in labels.splitlines())


def check(graph: IntegerGraph) -> None:
    """Lower ``graph`` and throw the result away.

    Raises:
        UnsupportedError: With all nodes that have no OpenVINO form.
    """
    Writer(graph).lower()


def write(graph: IntegerGraph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``graph`` to ``path`` (``.xml``) and its constants beside it (``.bin``); the same graph, the same bytes.

    Raises:
        UnsupportedError: With all nodes that have no OpenVINO form; nothing is written then.
        ValueError: If ``path`` does not end in ``.xml``.
    """
    if path.suffix != ".xml":
        raise ValueError(f"an OpenVINO model is written to a .xml file, got {path.name}")
    # Not save_model: that rounds float constants to 16 bits.
    openvino.serialize(to_model(graph, metadata), path, path.with_suffix(".bin"))


__all__ = ["check", "read_grids", "to_model", "write"]
