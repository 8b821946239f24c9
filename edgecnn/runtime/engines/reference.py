"""The oracle: executes the canonical integer graph in plain numpy, exactly as `edgecnn.ops` defines it.

It says which engine is off and at which operator, and it is the fall-back where no engine is installed. It is
tens of times slower than an engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from edgecnn.boundary import boundary
from edgecnn.errors import EngineError
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.ops import Operand, op_file
from edgecnn.runtime.engines import EngineBase, check_inputs
from edgecnn.tensor import TensorSpec

NAME = "reference"
REQUIREMENT = "edgecnn"


def run_node(graph: IntegerGraph, node: IntegerNode, values: dict[str, Array]) -> Array:
    """Execute one node on ``values`` (activations by name) and return its output.

    Raises:
        EngineError: If the node cannot be executed, its output has not the shape that the graph says, or a sum leaves
            int32.
    """
    operands = [Operand(_value(graph, values, name), graph.spec(name)) for name in node.inputs]
    output = graph.spec(node.output)
    # What a file says of a node may be anything: attributes that are missing, axes that there are not, sums too large.
    with boundary(EngineError, f"{node.op} '{node.name}'"):
        result: Array = importlib.import_module(f"edgecnn.ops.{op_file(node.op)}").reference(node, operands, output)
    if result.shape != output.shape or result.dtype.name != output.dtype:
        raise EngineError(
            f"{node.op} '{node.name}' gave {result.dtype} {result.shape}, the graph says {output.dtype} {output.shape}"
        )
    return result


def _value(graph: IntegerGraph, values: dict[str, Array], name: str) -> Array:
    return graph.constants[name] if name in graph.constants else values[name]


def run_graph(graph: IntegerGraph, arrays: Sequence[Array]) -> dict[str, Array]:
    """Execute the whole graph and return every activation by name."""
    values = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        values[node.output] = run_node(graph, node, values)
    return values


class ReferenceEngine(EngineBase):
    """The integer graph as an engine. Thread-safe: it keeps nothing between calls."""

    def __init__(self, graph: IntegerGraph) -> None:
        super().__init__([graph.spec(name) for name in graph.inputs], [graph.spec(name) for name in graph.outputs])
        self.graph = graph

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run on one array per input and return one array per output.

        Raises:
            EngineError: If an array has not its input's shape or dtype.
        """
        check_inputs(arrays, self.inputs)
        values = run_graph(self.graph, arrays)
        return [values[name] for name in self.graph.outputs]


def load(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    threads: int | None = None,
    wide_pairs: bool = False,
) -> ReferenceEngine:
    """Load the integer graph (``.npz``) at ``path``. numpy decides about ``threads``; its sums are exact.

    Raises:
        EngineError: If the graph takes or returns something else than ``inputs`` and ``outputs``.
    """
    engine = ReferenceEngine(IntegerGraph.load(path))
    if engine.inputs != tuple(inputs) or engine.outputs != tuple(outputs):
        raise EngineError(f"{path.name}: the graph's inputs and outputs are not those of the bundle. Export it again.")
    return engine
