"""The canonical integer graph: one model, its grids and its integers, before any runtime's format.

Every artefact (ONNX, OpenVINO IR, TFLite) is lowered from this graph, and the reference engine executes it. Logical
layout is NCHW as in ONNX; the frame enters as NHWC and leaves through an explicit Transpose. What each operator means
stands in its own file under `edgecnn.ops`.

On disk it is one ``.npz``: the constants as arrays, and ``graph`` as UTF-8 JSON. No pickle.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn import limits
from edgecnn.arrays import Array, read_npz, write_npz
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError
from edgecnn.plugins import discover
from edgecnn.tensor import QuantParams, TensorSpec

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]

FORMAT = 1


@dataclass(frozen=True)
class IntegerNode:
    """One operation on integers.

    Attributes:
        name: Unique inside the graph.
        op: Name of the operator in `edgecnn.ops`, e.g. ``"Conv"``.
        inputs: Names of activations and constants, in the operator's order.
        output: Name of the one output.
        attributes: The operator's attributes.
        source: Names of the nodes of the user's model that this one stands for.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    source: tuple[str, ...] = ()

    def ints(self, name: str) -> tuple[int, ...]:
        """Return the attribute ``name`` as a tuple of integers."""
        value = self.attributes[name]
        if not isinstance(value, tuple):
            raise TypeError(f"{self.op} '{self.name}': attribute '{name}' must be a tuple, got {value!r}")
        return tuple(int(item) for item in value)

    def integer(self, name: str) -> int:
        """Return the attribute ``name`` as an integer."""
        value = self.attributes[name]
        if not isinstance(value, int):
            raise TypeError(f"{self.op} '{self.name}': attribute '{name}' must be an integer, got {value!r}")
        return value

    def number(self, name: str) -> float:
        """Return the attribute ``name`` as a float."""
        value = self.attributes[name]
        if not isinstance(value, (int, float)):
            raise TypeError(f"{self.op} '{self.name}': attribute '{name}' must be a number, got {value!r}")
        return float(value)

    def text(self, name: str) -> str:
        """Return the attribute ``name`` as a string."""
        value = self.attributes[name]
        if not isinstance(value, str):
            raise TypeError(f"{self.op} '{self.name}': attribute '{name}' must be a string, got {value!r}")
        return value


@dataclass(frozen=True)
class IntegerGraph:
    """A checked, topologically ordered graph of `IntegerNode`.

    Attributes:
        name: The model's name.
        inputs: Names of the graph's inputs.
        outputs: Names of the graph's outputs.
        nodes: In an order in which they can be executed.
        tensors: Spec of every activation and constant, by name.
        constants: Integer arrays of the constants, by name.

    Raises:
        ValueError: If a node reads a tensor that does not exist yet or writes one that does, or a spec is missing or
            does not fit its constant.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[IntegerNode, ...]
    tensors: Mapping[str, TensorSpec]
    constants: Mapping[str, Array]

    def __post_init__(self) -> None:
        for name, array in self.constants.items():
            spec = self.tensors.get(name)
            if spec is None or spec.shape != array.shape or spec.dtype != array.dtype.name:
                raise ValueError(f"constant '{name}' is {array.dtype} {array.shape}, its spec says {spec}")
        undeclared = [name for name in self.inputs if name not in self.tensors]
        if undeclared:
            raise ValueError(f"the graph input(s) {undeclared} have no spec")
        ready = set(self.inputs) | set(self.constants)
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in ready]
            if missing or node.output not in self.tensors:
                raise ValueError(f"{node.op} '{node.name}' reads unknown {missing} or writes unknown '{node.output}'")
            if node.output in ready:
                raise ValueError(f"{node.op} '{node.name}' writes '{node.output}' a second time")
            ready.add(node.output)
        lost = [name for name in self.outputs if name not in ready]
        if lost:
            raise ValueError(f"no node writes the graph output(s) {lost}")

    def spec(self, name: str) -> TensorSpec:
        """Return the spec of a tensor."""
        return self.tensors[name]

    def activations(self) -> Iterator[TensorSpec]:
        """Yield the specs of graph inputs and node outputs, in order of execution."""
        for name in (*self.inputs, *(node.output for node in self.nodes)):
            yield self.tensors[name]

    def lifetimes(self, keep: Collection[str] = ()) -> Iterator[tuple[IntegerNode, list[str]]]:
        """Yield every node, in order of execution, with the activations that nobody reads after it.

        Args:
            keep: Names of tensors that are wanted in the end.
        """
        remaining = Counter(name for node in self.nodes for name in node.inputs if name not in self.constants)
        remaining.update(keep)
        for node in self.nodes:
            remaining.subtract(name for name in node.inputs if name in remaining)
            yield node, [name for name in dict.fromkeys(node.inputs) if remaining.get(name) == 0]

    def with_constant(self, name: str, values: Array) -> IntegerGraph:
        """Return the graph with other ``values``, of the same shape and dtype, for the constant ``name``."""
        return replace(self, constants={**self.constants, name: values})

    def single(self, node: IntegerNode) -> IntegerGraph:
        """Return the graph of ``node`` alone: its activations become inputs, its output the output."""
        constants = {name: self.constants[name] for name in node.inputs if name in self.constants}
        inputs = tuple(dict.fromkeys(name for name in node.inputs if name not in constants))
        names = (*inputs, *constants, node.output)
        return IntegerGraph(
            node.name, inputs, (node.output,), (node,), {name: self.tensors[name] for name in names}, constants
        )

    def save(self, path: Path) -> None:
        """Write the graph as one ``.npz``; the same graph gives the same bytes."""
        keys = {name: f"c{index}" for index, name in enumerate(sorted(self.constants))}
        document = {
            "format": FORMAT,
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "nodes": [vars(node) | {"attributes": dict(node.attributes)} for node in self.nodes],
            "tensors": [self.tensors[name].as_json() for name in sorted(self.tensors)],
            "constants": keys,
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        arrays = {"graph": np.frombuffer(text.encode(), np.uint8)}
        arrays |= {keys[name]: np.asarray(self.constants[name], order="C") for name in sorted(self.constants)}
        write_npz(path, arrays)

    @classmethod
    def load(cls, path: Path) -> IntegerGraph:
        """Read a graph back.

        Raises:
            BundleError: If the file is not a graph of this format.
        """
        arrays = read_npz(path, limits.GRAPH, BundleError)
        with boundary(BundleError, f"{path} is not a readable integer graph"):
            document = json.loads(arrays["graph"].tobytes().decode())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}, this version reads {FORMAT}")
            _check_document(document, path)
            constants = {name: arrays[key] for name, key in document["constants"].items()}
            return _from_document(document, constants)


def _check_document(document: dict[str, Any], path: Path) -> None:
    """Refuse operators that there are not, and more nodes or larger tensors than a graph may have."""
    limits.NODES.check(len(document["nodes"]), path, BundleError)
    known = {"".join(word.capitalize() for word in name.split("_")) for name in discover("edgecnn.ops")}
    unknown = sorted({str(item["op"]) for item in document["nodes"]} - known)
    if unknown:
        raise ValueError(f"there is no operator {unknown[0]!r}")
    for item in document["tensors"]:
        limits.TENSOR.check(math.prod(item["shape"]), f"{path}: '{item['name']}'", BundleError)


def _from_document(document: dict[str, Any], constants: dict[str, Array]) -> IntegerGraph:
    nodes = tuple(
        IntegerNode(
            name=item["name"],
            op=item["op"],
            inputs=tuple(item["inputs"]),
            output=item["output"],
            attributes={key: _frozen(value) for key, value in item["attributes"].items()},
            source=tuple(item["source"]),
        )
        for item in document["nodes"]
    )
    tensors = {item["name"]: TensorSpec.from_json(item) for item in document["tensors"]}
    inputs, outputs = tuple(document["inputs"]), tuple(document["outputs"])
    return IntegerGraph(document["name"], inputs, outputs, nodes, tensors, constants)


def _frozen(value: Any) -> Attribute:
    return tuple(value) if isinstance(value, list) else value


__all__ = ["Array", "Attribute", "IntegerGraph", "IntegerNode", "QuantParams"]
