"""A TFLite model under construction: tensors, buffers and operators, then bytes.

The same content gives the same bytes. Constants of equal bytes share one buffer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.export.tflite import schema
from edgecnn.export.tflite.metadata import KEY, metadata_table, with_labels
from edgecnn.export.tflite.schema import fb
from edgecnn.export.tflite.versions import min_runtime, operator_version
from edgecnn.integer_graph import Array, Attribute
from edgecnn.tensor import QuantParams

METADATA_KEY = "edgecnn"
SIGNATURE = "serving_default"


@dataclass(frozen=True)
class FileTensor:
    """One tensor of the file.

    Attributes:
        name: Unique in the file.
        shape: Shape as the file has it.
        dtype: ``"int8"``, ``"uint8"``, ``"int32"`` or ``"int64"``.
        quant: The grid as the file has it (zero point of int8 where the tensor is int8).
        buffer: Index of its constant bytes, 0 for activations.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None
    buffer: int = 0


@dataclass(frozen=True)
class FileOperator:
    """One operator of the file: its name, version, tensors by name, options, and the graph's node it belongs to."""

    node: str
    op: str
    version: int
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Attribute]


class FileModel:
    """Collects tensors and operators, then packs them."""

    def __init__(self) -> None:
        self.tensors: dict[str, FileTensor] = {}
        self.operators: list[FileOperator] = []
        self._buffers: list[bytes] = [b""]
        self._shared: dict[bytes, int] = {b"": 0}

    def add_tensor(self, name: str, shape: Sequence[int], dtype: str, quant: QuantParams | None = None) -> str:
        """Add an activation and return its name, made unique."""
        return self._add(FileTensor(self._unique(name), tuple(shape), dtype, quant))

    def add_constant(self, name: str, array: Array, quant: QuantParams | None = None) -> str:
        """Add a constant and return its name; the same constant asked for again is the same tensor."""
        data = np.ascontiguousarray(array).tobytes()
        buffer = self._buffer(data)
        tensor = FileTensor(name, array.shape, array.dtype.name, quant, buffer)
        if self.tensors.get(name) == tensor:
            return name
        return self._add(FileTensor(self._unique(name), array.shape, array.dtype.name, quant, buffer))

    def add_operator(
        self, node: str, op: str, inputs: Sequence[str], output: str, options: Mapping[str, Attribute]
    ) -> None:
        """Add an operator in the lowest version that does what its tensors and options ask.

        Args:
            node: Name of the graph's node that the operator belongs to.
            op: Name of the builtin operator.
            inputs: Names of its tensors, empty for an omitted one.
            output: Name of its output.
            options: Options in snake case.
        """
        arguments = [self.tensors[name] for name in inputs if name]
        version = operator_version(
            op,
            [item.shape for item in arguments],
            [_scale(item) for item in (*arguments, self.tensors[output])],
            options,
        )
        self.operators.append(FileOperator(node, op, version, tuple(inputs), output, dict(options)))

    def data(self, name: str) -> bytes:
        """Return the bytes of a constant, empty for an activation."""
        return self._buffers[self.tensors[name].buffer]

    def integers(self, name: str) -> list[int]:
        """Return the values of an int32 constant."""
        return [int(value) for value in np.frombuffer(self.data(name), np.int32)]

    def _add(self, tensor: FileTensor) -> str:
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self.tensors:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def _buffer(self, data: bytes) -> int:
        if data not in self._shared:
            self._shared[data] = len(self._buffers)
            self._buffers.append(data)
        return self._shared[data]

    def to_bytes(
        self, name: str, inputs: Sequence[str], outputs: Sequence[str], metadata: Mapping[str, str] | None = None
    ) -> bytes:
        """Pack the model.

        Args:
            name: The model's name, kept as the description.
            inputs: Names of the input tensors.
            outputs: Names of the output tensors.
            metadata: Written as JSON in the metadata entry ``edgecnn``, and in the format's own metadata
                (`edgecnn.export.tflite.metadata` says which key becomes what).
        """
        index = {tensor: number for number, tensor in enumerate(self.tensors)}
        keys = sorted({(schema.code(item.op), item.version) for item in self.operators})
        model = fb.ModelT()
        model.version = schema.SCHEMA_VERSION
        model.description = f"{name}, written by edgecnn"
        model.operatorCodes = [_operator_code(number, version) for number, version in keys]
        model.subgraphs = [self._subgraph(index, keys, inputs, outputs)]
        model.signatureDefs = [_signature(index, inputs, outputs)]
        entries = {"min_runtime_version": self._runtime().encode().ljust(16, b"\0")}
        if metadata:
            entries[METADATA_KEY] = json.dumps(dict(metadata), sort_keys=True).encode()
            entries[KEY] = metadata_table(metadata, inputs, outputs)
        model.metadata = [_metadata(key, len(self._buffers) + number) for number, key in enumerate(entries)]
        model.buffers = [schema.AlignedBuffer(data) for data in (*self._buffers, *entries.values())]
        labels = (metadata or {}).get("labels", "")
        return with_labels(schema.pack(model), labels) if labels else schema.pack(model)

    def _runtime(self) -> str:
        return min_runtime((item.op, item.version) for item in self.operators)

    def _subgraph(
        self, index: Mapping[str, int], keys: Sequence[tuple[int, int]], inputs: Sequence[str], outputs: Sequence[str]
    ) -> Any:
        graph = fb.SubGraphT()
        graph.name = "main"
        graph.tensors = [_tensor(item) for item in self.tensors.values()]
        graph.inputs = [index[item] for item in inputs]
        graph.outputs = [index[item] for item in outputs]
        graph.operators = [_operator(item, index, keys) for item in self.operators]
        return graph


def _scale(tensor: FileTensor) -> float | None:
    return None if tensor.quant is None else tensor.quant.scale[0]


def _operator_code(number: int, version: int) -> Any:
    code = fb.OperatorCodeT()
    code.builtinCode = number
    # Runtimes of before 2.4 read this 8-bit field only; 127 stands for "see the other one".
    code.deprecatedBuiltinCode = min(number, 127)
    code.version = version
    return code


def _tensor(item: FileTensor) -> Any:
    tensor = fb.TensorT()
    tensor.name = item.name
    tensor.shape = list(item.shape)
    tensor.type = schema.dtype_code(item.dtype)
    tensor.buffer = item.buffer
    if item.quant is not None:
        tensor.quantization = fb.QuantizationParametersT()
        tensor.quantization.scale = list(item.quant.scale)
        tensor.quantization.zeroPoint = [item.quant.zero_point] * len(item.quant.scale)
        tensor.quantization.quantizedDimension = item.quant.axis or 0
    return tensor


def _operator(item: FileOperator, index: Mapping[str, int], keys: Sequence[tuple[int, int]]) -> Any:
    operator = fb.OperatorT()
    operator.opcodeIndex = keys.index((schema.code(item.op), item.version))
    operator.inputs = [index[name] if name else -1 for name in item.inputs]
    operator.outputs = [index[item.output]]
    operator.builtinOptionsType, operator.builtinOptions = schema.options(item.op, item.options)
    return operator


def _signature(index: Mapping[str, int], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    signature = fb.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_tensor_map(name, index[name]) for name in inputs]
    signature.outputs = [_tensor_map(name, index[name]) for name in outputs]
    return signature


def _tensor_map(name: str, number: int) -> Any:
    entry = fb.TensorMapT()
    entry.name, entry.tensorIndex = name, number
    return entry


def _metadata(key: str, buffer: int) -> Any:
    entry = fb.MetadataT()
    entry.name, entry.buffer = key, buffer
    return entry
