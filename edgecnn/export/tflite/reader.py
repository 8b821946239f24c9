"""Read the grids back from a TFLite file: from its bytes alone, so that they prove what was written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecnn.export.tflite import schema
from edgecnn.tensor import QuantParams

# The input of an operator that is a weight, signed in the canonical graph too, with the axis of the channels there by
# their axis in the file.
_WEIGHTS = {
    "CONV_2D": (1, {0: 0}),
    "DEPTHWISE_CONV_2D": (1, {3: 0}),
    "TRANSPOSE_CONV": (1, {0: 1}),
}


def read_grids(path: Path) -> dict[str, QuantParams]:
    """Return the grid of every quantised tensor by name, in the terms of the canonical graph.

    int8 activations are given as the uint8 grid they stand for (zero point + 128), weights with the axis that the
    channels have in the canonical graph.

    Raises:
        ModelError: If ``path`` is not a TFLite model.
    """
    model = schema.unpack(path.read_bytes(), path)
    subgraph = model.subgraphs[0]
    weights = _weights(model, subgraph)
    grids = {}
    for index, tensor in enumerate(subgraph.tensors):
        quant = _grid(tensor)
        if quant is not None:
            grids[_text(tensor.name)] = _canonical(quant, schema.dtype_name(tensor.type), weights.get(index))
    return grids


def _weights(model: Any, subgraph: Any) -> dict[int, dict[int, int]]:
    """Return, for the index of every weight, its axes in the canonical graph by its axes in the file."""
    names = schema.operator_names()
    found = {}
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        op = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if op in _WEIGHTS:
            position, axes = _WEIGHTS[op]
            found[int(operator.inputs[position])] = axes
    return found


def _grid(tensor: Any) -> QuantParams | None:
    quant = tensor.quantization
    if quant is None or quant.scale is None or len(quant.scale) == 0:
        return None
    if len(quant.scale) == 1:
        return QuantParams.per_tensor(float(quant.scale[0]), int(quant.zeroPoint[0]))
    return QuantParams.per_channel(quant.scale, int(quant.quantizedDimension))


def _canonical(quant: QuantParams, dtype: str, axes: dict[int, int] | None) -> QuantParams:
    if axes is not None:
        return quant if quant.axis is None else replace(quant, axis=axes.get(quant.axis, quant.axis))
    return replace(quant, zero_point=quant.zero_point + 128) if dtype == "int8" else quant


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
