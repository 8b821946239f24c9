"""TFLite model metadata: what other tools (Android Studio, task libraries) read of a file.

The tables are few, so they are written by slot number. Source: TensorFlow Lite Support, ``metadata_schema.fbs``;
labels travel as a file in a zip archive behind the model, as its section on associated files says.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers

KEY = "TFLITE_METADATA"
LABELS = "labels.txt"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"
_TENSOR_AXIS_LABELS = 2
_FRAME = "uint8 frame, NHWC, channels in OpenCV's order (BGR); no normalisation needed"


def metadata_table(entries: Mapping[str, str], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return the ``ModelMetadata`` table.

    Args:
        entries: ``model`` becomes the name, ``producer`` the author; ``labels`` names the labels' file at the first
            output.
        inputs: Names of the model's inputs.
        outputs: Names of the model's outputs.
    """
    builder = flatbuffers.Builder(1024)
    labels = [_labels_file(builder)] if entries.get("labels") else []
    into = [_table(builder, {0: _text(builder, name), 1: _text(builder, _FRAME)}) for name in inputs]
    out_of = [
        _table(builder, {0: _text(builder, name), 6: _vector(builder, labels if index == 0 else [])})
        for index, name in enumerate(outputs)
    ]
    subgraph = _table(builder, {2: _vector(builder, into), 3: _vector(builder, out_of)})
    fields = {
        0: _text(builder, entries.get("model", "")),
        3: _vector(builder, [subgraph]),
        4: _text(builder, entries.get("producer", "")),
        7: _text(builder, _PARSER_VERSION),
    }
    builder.Finish(_table(builder, fields), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def with_labels(model: bytes, labels: str) -> bytes:
    """Return ``model`` with the labels (one a line) in a zip archive behind it, stored, with a fixed time stamp."""
    stream = io.BytesIO()
    stream.write(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, date_time=(1980, 1, 1, 0, 0, 0)), labels)
    return stream.getvalue()


def _labels_file(builder: Any) -> int:
    name = _text(builder, LABELS)
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependInt8Slot(2, _TENSOR_AXIS_LABELS, 0)
    return int(builder.EndObject())


def _text(builder: Any, value: str) -> int:
    return int(builder.CreateString(value)) if value else 0


def _vector(builder: Any, tables: Sequence[int]) -> int:
    if not tables:
        return 0
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _table(builder: Any, slots: Mapping[int, int]) -> int:
    """Write a table whose fields are offsets; 0 leaves a field out."""
    builder.StartObject(max(slots) + 1)
    for slot, offset in slots.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())
