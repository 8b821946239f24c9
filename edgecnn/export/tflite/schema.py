"""The TFLite file format: the only module that touches the FlatBuffers schema.

The schema is the one inside ``ai-edge-litert``: generated anew with every release of the runtime, with the object API,
and installed anyway where TFLite files are proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as fb

from edgecnn.errors import ModelError
from edgecnn.integer_graph import Attribute

__all__ = ["AlignedBuffer", "code", "dtype_code", "dtype_name", "fb", "operator_names", "options", "pack", "unpack"]

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
# What XNNPACK and the int32 kernels want of a constant's address; the schema says force_align 16.
ALIGNMENT = 16

# Options tables, for the operators whose table is not called after them.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "PADV2": "PadV2Options",
}
_ENUMS = {
    "padding": "Padding",
    "mode": "MirrorPadMode",
    "output_type": "TensorType",
    "fused_activation_function": "ActivationFunctionType",
}
_DTYPES = {"uint8": "UINT8", "int8": "INT8", "int32": "INT32", "int64": "INT64", "float32": "FLOAT32"}


class AlignedBuffer:
    """A buffer of the file whose bytes start at a multiple of `ALIGNMENT`.

    The generated ``BufferT`` packs without alignment, so this one packs itself, in the way of
    ``flatbuffers.Builder.CreateNumpyVector``.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def Pack(self, builder: Any) -> Any:
        """Write the table and return its offset; the name is the object API's."""
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            builder.vectorNumElems = len(self.data)
            vector = builder.EndVector()
        fb.BufferStart(builder)
        if vector is not None:
            fb.BufferAddData(builder, vector)
        return fb.BufferEnd(builder)


def code(op: str) -> int:
    """Return the number of a builtin operator, e.g. ``"CONV_2D"``."""
    return int(getattr(fb.BuiltinOperator, op))


def operator_names() -> dict[int, str]:
    """Return the names of all builtin operators by number."""
    return {value: name for name, value in vars(fb.BuiltinOperator).items() if isinstance(value, int)}


def dtype_code(dtype: str) -> int:
    """Return the number of a tensor type, e.g. of ``"int8"``."""
    return int(getattr(fb.TensorType, _DTYPES[dtype]))


def dtype_name(number: int) -> str:
    """Return the numpy name of a tensor type."""
    names = {dtype_code(name): name for name in _DTYPES}
    return names.get(number, f"type {number}")


def options(op: str, fields: Mapping[str, Attribute]) -> tuple[int, Any]:
    """Return the options of an operator: the number of their table and the object, (0, None) without fields.

    Args:
        op: Name of the builtin operator.
        fields: Options in snake case, e.g. ``stride_h=2, padding="SAME"``; enumerations by name.
    """
    if not fields:
        return 0, None
    table = _OPTIONS.get(op, _camel(op.lower(), upper=True) + "Options")
    result = getattr(fb, f"{table}T")()
    for key, value in fields.items():
        field = _camel(key, upper=False)
        if not hasattr(result, field):
            raise ModelError(f"TFLite's {table} has no field '{field}'")
        setattr(result, field, getattr(getattr(fb, _ENUMS[key]), str(value)) if key in _ENUMS else value)
    return int(getattr(fb.BuiltinOptions, table)), result


def _camel(name: str, upper: bool) -> str:
    first, *rest = name.split("_")
    return (first.capitalize() if upper else first) + "".join(part.capitalize() for part in rest)


def pack(model: Any) -> bytes:
    """Serialise a ``ModelT``."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def unpack(data: bytes, origin: Path | str) -> Any:
    """Read a file's bytes as a ``ModelT``.

    Args:
        data: The file.
        origin: What to call it in an error.

    Raises:
        ModelError: If the bytes are not a TFLite model.
    """
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise ModelError(f"{origin} is not a TFLite model: bytes 4 to 8 must be 'TFL3', got {data[4:8]!r}")
    try:
        return fb.ModelT.InitFromObj(fb.Model.GetRootAs(data, 0))
    except Exception as error:  # flatbuffers raises whatever the damaged offsets lead to
        raise ModelError(f"{origin} is a damaged TFLite model: {error!r}") from error
