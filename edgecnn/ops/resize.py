"""Resize: a map (N,C,H,W) resampled to ``sizes`` by nearest neighbour or bilinear interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.affine import saturate
from edgecnn.ops import CHANNELS_LAST, Array, Attribute, FloatNode, IntegerNode, OnnxWriter, Operand, TfliteWriter
from edgecnn.tensor import QuantParams, TensorSpec

GRID = "shared"
OPERANDS = 1
FLOAT, UINT8 = 1, 2  # onnx.TensorProto.DataType


def attributes(node: FloatNode, grid: QuantParams | None) -> dict[str, Attribute]:
    """Output sizes come from the graph's shapes, whatever the node was given."""
    coordinates = node.text("coordinate_transformation_mode", "half_pixel").replace("pytorch_", "")
    return {
        "sizes": node.output_shape[2:],
        "mode": node.text("mode", "nearest"),
        "coordinates": coordinates,
        "rounding": node.text("nearest_mode", "round_prefer_floor"),
    }


def reference(node: IntegerNode, inputs: Sequence[Operand], output: TensorSpec) -> Array:
    """Resample the integers; a bilinear result is rounded once."""
    values = inputs[0].values
    for axis, size in zip((2, 3), node.ints("sizes"), strict=True):
        values = resample(node, values, axis, size)
    # Interpolating to twice the size gives sixteenths, and many ties: the rule must be the same everywhere, and integer
    # kernels (XNNPACK) round half up.
    return saturate(np.floor(values.astype(np.float32) + np.float32(0.5)), output.dtype)


def resample(node: IntegerNode, values: Array, axis: int, size: int) -> Array:
    """Resample ``values`` along one axis to ``size``; bilinear results are not rounded."""
    length = values.shape[axis]
    position = _positions(node.text("coordinates"), length, size)
    if node.text("mode") == "nearest":
        return np.take(values, nearest_sources(node, length, size), axis=axis)
    low = np.floor(position)
    shape = [1] * values.ndim
    shape[axis] = size
    share = (position - low).reshape(shape)
    first = np.take(values, np.clip(low, 0, length - 1).astype(np.int64), axis=axis).astype(np.float64)
    second = np.take(values, np.clip(low + 1, 0, length - 1).astype(np.int64), axis=axis).astype(np.float64)
    mixed: Array = first * (1 - share) + second * share
    return mixed


def nearest_sources(node: IntegerNode, length: int, size: int, shift: float = 0.0) -> npt.NDArray[np.int64]:
    """Return the rows (or columns) that a nearest Resize reads, shape (size,); ``shift`` moves the positions."""
    position = _positions(node.text("coordinates"), length, size) + shift
    index: npt.NDArray[np.int64] = np.clip(_nearest(node.text("rounding"), position), 0, length - 1).astype(np.int64)
    return index


def _positions(coordinates: str, length: int, size: int) -> Array:
    """Source positions of the output pixels; source: ONNX Resize-13."""
    index = np.arange(size, dtype=np.float64)
    if coordinates == "half_pixel":
        return (index + 0.5) * length / size - 0.5
    if coordinates == "align_corners":
        return index * (length - 1) / max(size - 1, 1)
    return index * length / size


def _nearest(rounding: str, position: Array) -> Array:
    if rounding == "floor":
        return np.floor(position)
    if rounding == "ceil":
        return np.ceil(position)
    return np.ceil(position - 0.5) if rounding == "round_prefer_floor" else np.floor(position + 0.5)


def to_onnx(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write a Resize: nearest on the integers, bilinear on the integers as floats, rounded half up by Add and Cast."""
    name, mode = node.inputs[0], node.text("mode")
    if mode == "nearest" and not float32_suffices(node, writer.graph.spec(name).shape[2:]):
        _gather(node, writer)
        return
    shape = writer.constant(np.asarray(writer.graph.spec(name).shape[:2] + node.ints("sizes"), np.int64))
    coordinates = {"mode": mode, "coordinate_transformation_mode": node.text("coordinates")}
    if mode == "nearest":
        rounding = node.text("rounding")
        writer.move(node, "Resize", [writer.integers(name), "", "", shape], nearest_mode=rounding, **coordinates)
        return
    wide = writer.emit("Cast", [writer.integers(name)], to=FLOAT)
    value = writer.emit("Resize", [wide, "", "", shape], **coordinates)
    rounding = writer.constant(np.asarray(half(node, writer.graph.spec(name).shape[2:]), np.float32))
    writer.move(node, "Cast", [writer.emit("Add", [value, rounding])], to=UINT8)


def half(node: IntegerNode, lengths: Sequence[int]) -> float:
    """Return what is added to a bilinear result before it is rounded down: half a step, and a little more.

    Results are multiples of ``1 / D``. Runtimes compute positions in float32, and a result that should be half of a
    step, which takes an even D, may come out below it. Half of ``1 / D`` more makes good for that, and takes no other
    result along.
    """
    pairs = zip(lengths, node.ints("sizes"), strict=True)
    steps = math.prod(_denominator(node.text("coordinates"), length, size) for length, size in pairs)
    return 0.5 if steps % 2 else 0.5 + 0.5 / steps


def _denominator(coordinates: str, length: int, size: int) -> int:
    """Return the smallest D of which all positions of `_positions` are multiples of ``1 / D``."""
    if coordinates == "half_pixel":
        return 2 * size // math.gcd(length - size, 2 * length, 2 * size)
    if coordinates == "align_corners":
        return max(size - 1, 1) // math.gcd(length - 1, max(size - 1, 1))
    return size // math.gcd(length, size)


def float32_suffices(node: IntegerNode, lengths: Sequence[int]) -> bool:
    """Say whether float32, in which runtimes compute positions, cannot round to another pixel than the exact one.

    It cannot where positions are quotients of integers (align_corners), where the scale is exact in binary (it is not
    from 14 to 4: pixel 2 is then read at 6.9999995 instead of 7), or where no position lies near a boundary.
    """
    if node.text("coordinates") == "align_corners":
        return True
    pairs = zip(lengths, node.ints("sizes"), strict=True)
    return all(_exact_in_binary(length, size) or _stable(node, length, size) for length, size in pairs)


def _exact_in_binary(length: int, size: int) -> bool:
    denominator = length // math.gcd(length, size)
    return denominator & (denominator - 1) == 0


def _stable(node: IntegerNode, length: int, size: int) -> bool:
    before, exact, after = (nearest_sources(node, length, size, shift) for shift in (-1e-3, 0.0, 1e-3))
    return np.array_equal(before, exact) and np.array_equal(exact, after)


def _gather(node: IntegerNode, writer: OnnxWriter) -> None:
    """Write two Gathers with the exact rows and columns."""
    pairs = zip(writer.graph.spec(node.inputs[0]).shape[2:], node.ints("sizes"), strict=True)
    rows, columns = (writer.constant(nearest_sources(node, length, size)) for length, size in pairs)
    moved = writer.emit("Gather", [writer.integers(node.inputs[0]), rows], axis=2)
    writer.move(node, "Gather", [moved, columns], axis=3)


def to_tflite(node: IntegerNode, writer: TfliteWriter) -> None:
    """Write RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR where TFLite samples at the same positions."""
    shape, sizes = writer.graph.spec(node.inputs[0]).shape, node.ints("sizes")
    mode = next((mode for mode in _TFLITE_MODES if _samples_equally(node, mode, shape[2:], sizes)), None)
    if mode is None:
        writer.refuse(
            node,
            f"TFLite samples {shape[2:]} -> {sizes} at other positions than {_positions_name(node)}.",
            "Use asymmetric positions with floor, or half_pixel with round_prefer_ceil.",
        )
        return
    kind = "RESIZE_NEAREST_NEIGHBOR" if node.text("mode") == "nearest" else "RESIZE_BILINEAR"
    size = writer.constant(np.asarray(sizes, np.int32))
    align, half = mode == "align_corners", mode == "half_pixel"
    x = writer.read(node.inputs[0], CHANNELS_LAST)
    writer.write(node, kind, [x, size], CHANNELS_LAST, align_corners=align, half_pixel_centers=half)


def _positions_name(node: IntegerNode) -> str:
    return " ".join(str(node.attributes[key]) for key in ("mode", "coordinates", "rounding") if key in node.attributes)


_TFLITE_MODES = ("asymmetric", "half_pixel", "align_corners")


def _samples_equally(node: IntegerNode, mode: str, lengths: Sequence[int], sizes: Sequence[int]) -> bool:
    pairs = list(zip(lengths, sizes, strict=True))
    if node.text("mode") == "nearest":
        rounding = node.text("rounding")
        return all(
            np.array_equal(
                np.clip(_nearest(rounding, _positions(node.text("coordinates"), length, size)), 0, length - 1),
                _tflite_nearest(mode, length, size),
            )
            for length, size in pairs
        )
    return all(
        np.allclose(
            np.clip(_positions(node.text("coordinates"), length, size), 0, length - 1),
            np.clip(_positions(mode, length, size), 0, length - 1),
            atol=1e-9,
        )
        for length, size in pairs
    )


def _tflite_nearest(mode: str, length: int, size: int) -> Array:
    """Source rows of TFLite's nearest neighbour, in its float32; source: ``reference/resize_nearest_neighbor.h``."""
    aligned = mode == "align_corners" and size > 1
    scale = np.float32(length - 1) / np.float32(size - 1) if aligned else np.float32(length) / np.float32(size)
    offset = np.float32(0.5 if mode == "half_pixel" else 0)
    position = (np.arange(size, dtype=np.float32) + offset) * scale
    index = np.floor(position + np.float32(0.5)) if mode == "align_corners" else np.floor(position)
    clipped: Array = np.clip(index, 0, length - 1)
    return clipped
