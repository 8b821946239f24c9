"""Read the grids back from an OpenVINO file, from the constants that it computes with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from edgecnn.errors import ModelError
from edgecnn.export.openvino.writer import OUTPUT_GRIDS, UNNAMED, WHOLE_RANGE, range_ends
from edgecnn.tensor import QuantParams

# Operators that keep the grid of their first input.
_MOVES = {
    "Concat",
    "DepthToSpace",
    "Gather",
    "Interpolate",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "Reshape",
    "StridedSlice",
    "Transpose",
}
_INTEGERS = {openvino.Type.u8, openvino.Type.i8, openvino.Type.i32}


def read_grids(path: Path) -> dict[str, QuantParams]:
    """Read the grids of all tensors of an IR file by tensor name.

    A grid is read where integers become real (Convert, Subtract, Multiply) and passed on by data movement. Where real
    values become integers (FakeQuantize), the ends of the range must be those of the grid (or those of uint8, where
    integers were only rounded).

    Raises:
        ModelError: If the file is no IR, or says two different things about one tensor.
    """
    try:
        model = openvino.Core().read_model(path)
        grids, reals = _declared(model), dict[str, str]()
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not an OpenVINO model of edgecnn: {error}") from error
    nodes = model.get_ordered_ops()
    for node in nodes:
        for name, grid in _found(node, reals, grids):
            if grids.setdefault(name, grid) != grid:
                raise ModelError(f"{path}: tensor '{name}' has two grids, {grids[name]} and {grid}")
    for name, ends in _ranges(nodes):
        if name not in grids or ends not in (range_ends(grids[name]), WHOLE_RANGE):
            raise ModelError(f"{path}: tensor '{name}' is quantised to {ends}, its grid is {grids.get(name)}")
    return grids


def _declared(model: Any) -> dict[str, QuantParams]:
    """Return the grids of outputs that the model declares in its run-time information."""
    if not model.has_rt_info(OUTPUT_GRIDS):
        return {}
    declared = json.loads(str(model.get_rt_info(OUTPUT_GRIDS).value))
    return {name: QuantParams.per_tensor(scale, int(zero_point)) for name, (scale, zero_point) in declared.items()}


def _found(node: Any, reals: dict[str, str], grids: dict[str, QuantParams]) -> Iterable[tuple[str, QuantParams]]:
    """Yield what ``node`` says; ``reals`` maps nodes with real values to the node whose integers they stand for."""
    own = node.get_friendly_name()
    if (source := _dequantised(node)) is not None:
        reals[own] = source.get_friendly_name()
        if _is_tensor(source):
            yield reals[own], _grid(node, source)
    elif _moves(node) and (moved := reals.get(_parent(node, 0).get_friendly_name())) in grids:
        reals[own] = own if _is_tensor(node) else moved
        yield reals[own], grids[moved]


def _is_tensor(node: Any) -> bool:
    """Tell whether ``node`` has the name of a tensor of the canonical graph."""
    return bool(node.get_friendly_name().rpartition(UNNAMED)[0] != node.get_type_name())


def _moves(node: Any) -> bool:
    """Tell whether ``node`` gives on integers as they are; bilinear interpolation does not."""
    kind = node.get_type_name()
    return kind in _MOVES and (kind != "Interpolate" or node.get_attributes()["mode"] == "nearest")


def _ranges(nodes: Iterable[Any]) -> Iterable[tuple[str, tuple[np.float32, np.float32]]]:
    """Yield the name and the range of every tensor that a FakeQuantize writes."""
    for node in nodes:
        if node.get_type_name() == "FakeQuantize":
            integers = next(iter(node.output(0).get_target_inputs())).get_node()
            low, high = (np.float32(_value(_parent(node, index)).item()) for index in (1, 2))
            yield integers.get_friendly_name(), (low, high)


def _dequantised(multiply: Any) -> Any:
    """Return the node whose integers ``multiply`` makes real, None if it does something else."""
    if multiply.get_type_name() != "Multiply":
        return None
    node = _parent(multiply, 0)
    if node.get_type_name() == "Subtract":
        node = _parent(node, 0)
    if node.get_type_name() != "Convert" or _parent(multiply, 1).get_type_name() != "Constant":
        return None
    return _parent(node, 0) if node.input(0).get_element_type() in _INTEGERS else None


def _grid(multiply: Any, source: Any) -> QuantParams:
    scale, shift = _value(_parent(multiply, 1)), _parent(multiply, 0)
    if scale.ndim == 0:
        zero_point = int(_value(_parent(shift, 1))) if shift.get_type_name() == "Subtract" else 0
        return QuantParams.per_tensor(float(scale), zero_point)
    return QuantParams.per_channel(scale.ravel(), _weight_axis(scale.shape, source))


def _weight_axis(scales: tuple[int, ...], source: Any) -> int:
    """Return the axis of the scales in the canonical graph, whose weights have no axis of groups."""
    transposed = {"ConvolutionBackpropData", "GroupConvolutionBackpropData"}
    channels_second = any(_feeds(item.get_node(), transposed) for item in source.output(0).get_target_inputs())
    # Of a transposed convolution: (1, O, 1, 1), or with groups (1, 1, O / group, 1, 1) or (group, C / group, 1, 1, 1).
    return 1 if channels_second and max(scales[: len(scales) - 3]) == 1 else 0


def _feeds(node: Any, kinds: set[str]) -> bool:
    """Tell whether ``node`` or the one that reads it is of one of ``kinds``."""
    readers = [item.get_node() for output in node.outputs() for item in output.get_target_inputs()]
    deeper = [item.get_node() for reader in readers for out in reader.outputs() for item in out.get_target_inputs()]
    return any(item.get_type_name() in kinds for item in (node, *readers, *deeper))


def _parent(node: Any, index: int) -> Any:
    return node.input(index).get_source_output().get_node()


def _value(constant: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(constant.get_data(), np.float32)


__all__ = ["read_grids"]
