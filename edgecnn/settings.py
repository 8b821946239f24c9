"""TOML files as frozen dataclasses: the keys and types that are allowed are those of the dataclass.

What nobody would read is refused, so that a misspelt key is an error and not a silent default.
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgecnn import limits
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


def read(path: Path, record: type[Record]) -> Record:
    """Read a TOML file as ``record``.

    Args:
        path: The file. Its name without ``.toml`` must be the value of its key ``name``.
        record: A dataclass of strings, numbers, booleans, tuples or mappings of these, and other such dataclasses.

    Raises:
        OptionError: If the file is no TOML, a key is unknown (near names suggested) or missing, or a value has
            another type. The message names the file.
    """
    content = read_bytes(path, limits.SETTINGS, OptionError)
    with boundary(OptionError, f"{path}: expected a TOML file in UTF-8"):
        table = tomllib.loads(content.decode())
    try:
        if table.get("name") != path.stem:
            raise OptionError(f"name must be the file's name '{path.stem}', got {table.get('name')!r}")
        return _build(record, table)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def _build(record: type[Record], table: Mapping[str, Any], where: str = "") -> Record:
    """Construct ``record`` from a table, its keys and types checked."""
    hints = typing.get_type_hints(record)
    known = {entry.name: entry for entry in fields(record)}
    for key in table:
        if key not in known:
            raise unknown_name("key", where + key, [where + name for name in known])
    missing = [where + name for name, entry in known.items() if _required(entry) and name not in table]
    if missing:
        raise OptionError(f"the key '{missing[0]}' is missing")
    values = {key: _value(where + key, value, hints[key]) for key, value in table.items()}
    with boundary(OptionError, where.rstrip(".") or "the file"):
        return record(**values)


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _value(key: str, value: Any, hint: Any) -> Any:
    """Check ``value`` against a type hint; lists become tuples and tables dataclasses."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is tuple and isinstance(value, list):
        return tuple(_value(f"{key}[{index}]", item, inner[0]) for index, item in enumerate(value))
    if kind is Mapping and isinstance(value, dict):
        return {name: _value(f"{key}.{name}", item, inner[1]) for name, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return _build(hint, value, f"{key}.")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise OptionError(f"{key} must be {_spelt(kind)}, got {value!r}")
    return value


def _spelt(kind: Any) -> str:
    """Return what TOML calls a type."""
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false", tuple: "a list"}
    return names.get(kind, "a table")
