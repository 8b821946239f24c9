"""Read an ``.onnx`` file that nobody has vouched for."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import version_converter

from edgecnn import limits
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import ModelError
from edgecnn.graph.expansion import check_size
from edgecnn.graph.input_shapes import InputShape, fix_input_shapes
from edgecnn.graph.settle import settle

OLDEST_OPSET, WORKING_OPSET, NEWEST_OPSET = 9, 18, 23
RESIZE_HAS_COORDINATES = 11


def import_onnx(path: str | Path, input_shape: InputShape | None = None) -> ir.Model:
    """Read an ONNX model into the in-memory graph.

    Args:
        path: The ``.onnx`` file; external data must lie beside or below it.
        input_shape: What to fix dynamic dimensions to: one shape for a model with one input, or a mapping from input
            name to shape. A dynamic batch becomes 1 without being asked.

    Returns:
        A model that keeps the promises of `edgecnn.graph`. The file's ``metadata_props`` are kept.

    Raises:
        ModelError: If the file is not a readable ONNX model of opset 9 to 23, has dimensions that stay dynamic, or
            holds NaN or infinity.
        UnsupportedError: If nodes come from another domain than ONNX, or contain graphs (If, Loop, Scan).
    """
    path = Path(path)
    with boundary(ModelError, f"{path} cannot be imported"):
        proto = _parse(path)
        _load_external_data(proto, path)
        check_size(proto)
        _check(proto, path)
        fix_input_shapes(proto.graph, input_shape)
        proto = _at_working_opset(proto, path)
        return settle(deserialise(proto))


def deserialise(proto: onnx.ModelProto) -> ir.Model:
    """Turn a parsed file into the in-memory graph.

    Raises:
        ModelError: If its parts do not fit together.
    """
    try:
        return ir.from_proto(proto)
    except Exception as error:  # whatever a damaged file makes the reader stumble over
        raise ModelError(f"the model's graph cannot be read: {error}. Export it again.") from error


def _parse(path: Path) -> onnx.ModelProto:
    content = read_bytes(path, limits.MODEL, ModelError)
    if not content:
        raise ModelError(f"{path} is empty. Fetch or export the model again.")
    if content.lstrip()[:1] == b"<":
        raise ModelError(f"{path} is an HTML or XML page, not an ONNX model; a download often ends so. Fetch it again.")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:
        raise ModelError(f"{path} is not an ONNX model, or it is cut off ({len(content)} bytes).") from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelError(f"{path} holds no ONNX graph ({len(content)} bytes); it is another format or cut off.")
    return proto


def _load_external_data(proto: onnx.ModelProto, path: Path) -> None:
    """Load tensors kept in other files, refusing every path that leaves the model's folder."""
    folder = path.resolve().parent
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            _check_location(folder, location, tensor.name)
    try:
        onnx.load_external_data_for_model(proto, str(folder))
    except Exception as error:
        raise ModelError(f"{path}: the external data cannot be loaded: {error}") from error


def _check_location(folder: Path, location: str, tensor: str) -> None:
    target = (folder / location).resolve()
    if not location or not target.is_relative_to(folder):
        raise ModelError(f"tensor '{tensor}' keeps its data in '{location}', outside the model's folder: refused.")
    if not target.is_file():
        raise ModelError(f"tensor '{tensor}' keeps its data in '{location}', which is missing beside the model.")


def _check(proto: onnx.ModelProto, path: Path) -> None:
    version = _opset(proto)
    if not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise ModelError(
            f"{path} uses ONNX opset {version}; supported are {OLDEST_OPSET} to {NEWEST_OPSET}. Export it again."
        )
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        raise ModelError(f"{path} is not a valid ONNX model: {error}") from error


def _opset(proto: onnx.ModelProto) -> int:
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _at_working_opset(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Convert older opsets up, so that the passes meet one spelling of each operator; newer ones stay."""
    if _opset(proto) >= WORKING_OPSET:
        return proto
    try:
        converted = version_converter.convert_version(proto, WORKING_OPSET)
    except Exception as error:
        raise ModelError(
            f"{path} of opset {_opset(proto)} cannot be converted to opset {WORKING_OPSET}: {error}. "
            f"Export it again with opset {WORKING_OPSET} or newer."
        ) from error
    if _opset(proto) < RESIZE_HAS_COORDINATES:
        _keep_old_resize(converted.graph)
    return converted


def _keep_old_resize(graph: onnx.GraphProto) -> None:
    """Write down what Upsample and Resize meant before opset 11; the converter leaves them to the new default.

    Source: ONNX Resize-10 and Upsample-9, which sample at ``output index / scale``, as ONNX Runtime runs them.
    """
    for node in graph.node:
        if node.op_type == "Resize":
            given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in given.items())
