"""Which version of a builtin operator an int8 graph needs, and the first runtime that has it.

The lowest version that does the work lets old runtimes (tflite-runtime 2.14 on 32-bit ARM, the Edge TPU compiler) load
the file. Source: TensorFlow, ``tensorflow/lite/tools/versioning/op_version.cc`` and ``runtime_version.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgecnn.integer_graph import Attribute

# Operators whose int8 form is not version 2.
_INT8 = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}
# Operators whose int8 form is version 1: they had int8 from the start, or do not look at the type.
_FIRST = frozenset({"QUANTIZE", "RESHAPE", "DEPTH_TO_SPACE"})
# Version from which an operator takes a rank above 4.
_HIGH_RANK = {"SLICE": 5, "STRIDED_SLICE": 4, "PAD": 4, "PADV2": 4, "TRANSPOSE": 4}
_HIGH_RANK_BROADCAST = {"SUB": 3, "MINIMUM": 3, "MAXIMUM": 3}

# First runtime of each version that this writer can ask for; int8 came with 1.14.0.
_RUNTIMES = {
    ("CONV_2D", 6): "2.9.0",
    ("DEPTH_TO_SPACE", 1): "2.1.0",
    (1): "1.13.1",
    ("MAXIMUM", 3): "2.3.0",
    ("MINIMUM", 3): "2.3.0",
    ("MIRROR_PAD", 2): "2.3.0",
    ("MUL", 3): "1.15.0",
    ("PAD", 4): "2.6.0",
    ("PADV2", 4): "2.6.0",
    ("RELU", 2): "2.1.0",
    ("RESHAPE", 1): "1.5.0",
    ("RESIZE_BILINEAR", 3): "2.2.0",
    ("RESIZE_NEAREST_NEIGHBOR", 3): "2.3.0",
    ("SLICE", 5): "2.5.0",
    ("STRIDED_SLICE", 4): "2.2.0",
    ("SUB", 3): "2.3.0",
    ("TRANSPOSE", 4): "2.3.0",
    ("TRANSPOSE", 6): "2.12.0",
    ("TRANSPOSE_CONV", 2): "2.2.0",
    ("TRANSPOSE_CONV", 3): "2.3.0",
}
_INT8_RUNTIME = "1.14.0"

Shapes = Sequence[tuple[int, ...]]


def operator_version(op: str, shapes: Shapes, scales: Sequence[float | None], options: Mapping[str, Attribute]) -> int:
    """Return the version of ``op``.

    Args:
        op: Name of the builtin operator.
        shapes: Shapes of the inputs.
        scales: First scale of every input and of the output, None where there is no grid.
        options: The operator's options.
    """
    special = _special(op, shapes, scales, options)
    if special is not None:
        return special
    rank = max(len(shape) for shape in shapes)
    if rank > 4 and op in _HIGH_RANK:
        return 6 if op == "TRANSPOSE" and rank > 5 else _HIGH_RANK[op]
    if rank > 4 and op in _HIGH_RANK_BROADCAST and shapes[0] != shapes[1]:
        return _HIGH_RANK_BROADCAST[op]
    return 1 if op in _FIRST else _INT8.get(op, 2)


def _special(op: str, shapes: Shapes, scales: Sequence[float | None], options: Mapping[str, Attribute]) -> int | None:
    """Return the version of an operator where more than rank and type decides it."""
    if op == "CONV_2D":
        return 6 if shapes[0][-1] != shapes[1][-1] else 3
    if op == "TRANSPOSE_CONV":
        return 3 if len(shapes) == 4 else 2
    if op == "MUL":
        return 3 if _product_scale(scales) >= 1 else 2
    if op in {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}:
        newer = ("half_pixel_centers",) if op == "RESIZE_BILINEAR" else ("half_pixel_centers", "align_corners")
        return 3 if any(options.get(key) for key in newer) else 2
    return None


def _product_scale(scales: Sequence[float | None]) -> float:
    a, b, output = (scale or 1.0 for scale in scales[:3])
    return a * b / output


def min_runtime(operators: Iterable[tuple[str, int]]) -> str:
    """Return the first runtime version that has all of the (operator, version) pairs."""
    found = {_RUNTIMES.get(pair, _INT8_RUNTIME) for pair in operators} | {"1.5.0"}
    return max(found, key=lambda text: tuple(int(part) for part in text.split(".")))
