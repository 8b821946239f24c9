"""Run float graphs and say how far apart their outputs are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgecnn.errors import ModelError
from edgecnn.integer_graph import Array


class FloatModel:
    """A float graph, ready to run with ONNX Runtime on the CPU.

    Args:
        model: The graph; a copy is taken by serialising it. Or an ONNX model, which must not be used elsewhere then.
        threads: Number of threads.
        outputs: Names of the tensors to return; None for the graph's own outputs.

    Raises:
        ModelError: If ONNX Runtime cannot load the graph, or, when called, cannot run it on what it is fed.
    """

    def __init__(
        self, model: ir.Model | onnx.ModelProto, threads: int = 1, outputs: Sequence[str] | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
        if outputs is not None:
            del proto.graph.output[:]
            proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        content, providers = proto.SerializeToString(), ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ModelError(f"ONNX Runtime cannot load the float model: {error}") from error

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the outputs, in the order asked for, else the graph's. Several threads may call at a time."""
        try:
            outputs = self._session.run(None, dict(feeds))
        except Exception as error:
            names = ", ".join(value.name for value in self._session.get_inputs())
            raise ModelError(f"ONNX Runtime cannot run the float model (inputs: {names}): {error}") from error
        return [np.asarray(output) for output in outputs]


def float_difference(before: ir.Model, after: ir.Model, samples: Iterable[Mapping[str, Array]]) -> float:
    """Return the largest difference of float outputs, relative to each output's largest magnitude.

    Args:
        before: A graph.
        after: A graph with the same inputs and outputs.
        samples: Inputs by name, one mapping a sample.

    Raises:
        ValueError: If there is no sample.
    """
    first, second = FloatModel(before), FloatModel(after)
    return largest_difference((first(feeds), second(feeds)) for feeds in samples)


def largest_difference(pairs: Iterable[tuple[list[Array], list[Array]]]) -> float:
    """Return the largest ``max|a - b| / max|a|`` over pairs of lists of outputs; 0 for outputs that are all zero.

    Raises:
        ValueError: If there is no pair, or two outputs differ in shape.
    """
    worst = [_relative(a, b) for first, second in pairs for a, b in zip(first, second, strict=True)]
    if not worst:
        raise ValueError("a difference needs at least one sample")
    return max(worst)


def _relative(a: Array, b: Array) -> float:
    if a.shape != b.shape:
        raise ValueError(f"outputs of shape {a.shape} and {b.shape} cannot be compared")
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    largest = float(np.abs(wide_a).max(initial=0.0))
    difference = float(np.abs(wide_a - wide_b).max(initial=0.0))
    return difference / largest if largest else difference
