"""Read a ``.pt2`` file (`torch.export.save`) without running what may hide in it.

`torch.export.load` of torch 2.13 is not safe on a hostile file: it unpickles weights, constants and sample inputs that
claim to need it (``weights_only=False``), loads compiled libraries under ``data/aotinductor``, evaluates shape
expressions with ``sympy.sympify`` (which is ``eval``) and executes ``guards_code``. An honest file of a network with
plain tensors needs none of that. So the archive is inspected first, and `torch.export.load` is called only when

- C1. it holds no compiled code and no old-style ``.pt`` weights or constants;
- C2. no payload is marked ``use_pickle`` and no constant is a pickled object;
- C3. the sample inputs load with ``weights_only=True``;
- C4. shape expressions consist of symbols, numbers and arithmetic, and there is no guard code;
- C5. the graph calls nothing but ``aten`` and plain arithmetic operators.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgecnn import limits
from edgecnn.arrays import opened_zip
from edgecnn.errors import ModelError
from edgecnn.graph.input_shapes import Shape
from edgecnn.graph.torch_module import trace

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXPRESSION = re.compile(
    r"(?:\b(?:Symbol|Integer|Add|Mul|Pow|Mod|Max|Min|FloorDiv|IntTrueDiv|CeilToInt|FloorToInt"
    r"|positive|integer|nonnegative|True|False)\b|'\w+'|\d+|[-+*/(),=\s])*"
)
TARGET = re.compile(r"torch\.ops\.aten\.\w+\.\w+|torch\.ops\.higher_order\.wrap_with_set_grad_enabled|_operator\.\w+|")


def import_exported(path: str | Path, input_shape: Shape | None = None) -> ir.Model:
    """Read a network saved by `torch.export.save` into the in-memory graph.

    Args:
        path: The ``.pt2`` file.
        input_shape: Shape of the input, NCHW with batch 1; by default the one it was exported with, batch set to 1.

    Returns:
        A model that keeps the promises of `edgecnn.graph`.

    Raises:
        ModelError: If the file is not a ``.pt2`` archive, breaks one of the rules C1 to C5 above, was written by an
            incompatible torch, or does not run on the shape.
    """
    path = Path(path)
    _inspect(path)
    program = _load(path)
    shape = tuple(input_shape) if input_shape is not None else _exported_shape(program, path)
    return trace(program.module(), shape, path.stem)


def _inspect(path: Path) -> None:
    with opened_zip(path, limits.MODEL, ModelError) as archive:
        _check_archive(archive, path)


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    names = archive.namelist()
    documents = [name for name in names if "/models/" in name and name.endswith(".json")]
    if len(documents) != 1:
        raise ModelError(
            f"{path} holds {len(documents)} exported programs, expected 1. Save it with torch.export.save."
        )
    for name in names:
        _check_member(archive, name, path)
    for item in _items(json.loads(archive.read(documents[0]))):
        _check_item(item, path)


def _check_member(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Apply C1, C2 and C3 to one member of the archive."""
    member = PurePosixPath(name)
    folder = member.parent.name
    if "aotinductor" in name or member.suffix in (".so", ".dll", ".pyd", ".py", ".dylib"):
        raise _unsafe(path, f"compiled code ({name})")
    if folder in ("weights", "constants") and member.suffix == ".pt":
        raise _unsafe(path, f"pickled tensors of an old format ({name})")
    if folder == "sample_inputs":
        _check_sample_inputs(archive.read(name), path)
    if member.suffix == ".json":
        limits.DOCUMENT.check(archive.getinfo(name).file_size, f"{path}: {name}", ModelError)
        _check_payloads(archive.read(name), path)


def _check_payloads(content: bytes, path: Path) -> None:
    """Apply C2 to one document: neither pickled tensors nor pickled objects."""
    for item in _items(json.loads(content)):
        if item.get("use_pickle"):
            raise _unsafe(path, f"a pickled payload ({item.get('path_name')})")
        if str(item.get("path_name", "")).startswith(("custom_obj", "opaque_obj")):
            raise _unsafe(path, f"a pickled object ({item['path_name']})")


def _check_sample_inputs(content: bytes, path: Path) -> None:
    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        raise _unsafe(path, "sample inputs that are more than tensors") from error


def _check_item(item: dict[str, Any], path: Path) -> None:
    """Apply C4 and C5 to one object of the exported graph."""
    expression = item.get("expr_str", "")
    if not isinstance(expression, str) or not EXPRESSION.fullmatch(expression):
        raise _unsafe(path, f"a shape expression that is not arithmetic ({expression!r:.80})")
    if item.get("guards_code"):
        raise _unsafe(path, "guard code")
    target = item.get("target", "") if "inputs" in item else ""
    if not isinstance(target, str) or not TARGET.fullmatch(target):
        raise _unsafe(path, f"a call of {target!r:.80}")


def _unsafe(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} holds {what}: loading it could run code from the file. Give an .onnx file instead.")


def _items(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object inside ``value``, at any depth."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from _items(child)
    elif isinstance(value, list):
        for child in value:
            yield from _items(child)


def _load(path: Path) -> ExportedProgram:
    import torch

    try:
        with path.open("rb") as stream:
            return torch.export.load(io.BytesIO(stream.read()))
    except Exception as error:
        raise ModelError(
            f"{path} cannot be loaded by torch {torch.__version__}: {error}. Export it again with this version."
        ) from error


def _exported_shape(program: ExportedProgram, path: Path) -> tuple[int, ...]:
    tensors = list(program.example_inputs[0]) if program.example_inputs else []
    shapes = [tuple(tensor.shape) for tensor in tensors if hasattr(tensor, "shape")]
    if len(tensors) != 1 or len(shapes) != 1:
        raise ModelError(f"{path} takes {len(tensors)} inputs, expected one picture.")
    return (1, *(int(size) for size in shapes[0][1:]))
