"""Tables in comma-separated text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edgecnn import limits
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import DataError

Row = dict[str, str]


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table with a header, missing cells empty.

    Raises:
        DataError: If it is no such table in UTF-8.
    """
    content = read_bytes(path, limits.TABLE, DataError)
    with boundary(DataError, f"{path}: expected a table in UTF-8, comma-separated"):
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    return [{name: value or "" for name, value in row.items() if isinstance(name, str)} for row in rows]


def columns(path: Path) -> list[str]:
    """Return the names in a table's first line, none where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return next(csv.reader(stream), [])
    except Exception:  # whatever is no table has no columns
        return []
