"""Checked reading of a JSON object: every value is asked for by name and type, and an error names its field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from edgecnn.errors import BundleError

Scalar = str | int | float | bool


class Fields:
    """One JSON object at a known place of a document.

    Call `done` when everything was read: a key that nobody asked for is an error, not something to be ignored.

    Args:
        value: The parsed JSON value.
        where: Its place in the document, e.g. ``"outputs[0]"``; empty for the document itself.

    Raises:
        BundleError: If ``value`` is not an object. All methods raise it for a missing field or another type.
    """

    def __init__(self, value: object, where: str = "") -> None:
        self._where = where
        if not isinstance(value, dict):
            raise BundleError(f"manifest: {where or 'the document'} must be an object, got {_shown(value)}.")
        self._values: dict[str, object] = value
        self._asked: set[str] = set()

    def text(self, key: str) -> str:
        """Return a string."""
        value = self._get(key)
        return value if isinstance(value, str) else self.fail(key, "a string", value)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """Return a string that is one of ``allowed``."""
        value = self.text(key)
        return value if value in allowed else self.fail(key, f"one of {', '.join(allowed)}", value)

    def integer(self, key: str, low: int | None = None, high: int | None = None) -> int:
        """Return an integer in ``low .. high`` (True and False are none)."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, "an integer", value)
        if (low is not None and value < low) or (high is not None and value > high):
            self.fail(key, f"in {low} .. {'' if high is None else high}", value)
        return value

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.fail(key, "a finite number", value)
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            self.fail(key, "a list of strings", values)
        return tuple(str(value) for value in values)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of finite numbers."""
        values = self._list(key)
        return tuple(Fields({key: value}, self._where).number(key) for value in values)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers."""
        values = self._list(key)
        return tuple(Fields({key: value}, self._where).integer(key) for value in values)

    def scalars(self, key: str) -> dict[str, Scalar]:
        """Return an object whose values are strings, numbers or booleans."""
        values = self._object(key)
        plain = {name: value for name, value in values.items() if isinstance(value, (str, int, float, bool))}
        return plain if len(plain) == len(values) else self.fail(key, "an object of plain values", values)

    def strings(self, key: str) -> dict[str, str]:
        """Return an object whose values are strings."""
        values = self._object(key)
        plain = {name: value for name, value in values.items() if isinstance(value, str)}
        return plain if len(plain) == len(values) else self.fail(key, "an object of strings", values)

    def floats(self, key: str) -> dict[str, float]:
        """Return an object whose values are finite numbers."""
        values = Fields(self._get(key), self.at(key))
        return {name: values.number(name) for name in values._values}

    def child(self, key: str) -> Fields:
        """Return the object under ``key``."""
        return Fields(self._get(key), self.at(key))

    def children(self, key: str) -> list[Fields]:
        """Return the list of objects under ``key``."""
        return [Fields(value, f"{self.at(key)}[{index}]") for index, value in enumerate(self._list(key))]

    def names(self) -> list[str]:
        """Return the names of all fields of this object."""
        return list(self._values)

    def is_null(self, key: str) -> bool:
        """Say whether the field is there and null."""
        return self._get(key) is None

    def at(self, key: str) -> str:
        """Return the place of ``key`` in the document, for messages."""
        return f"{self._where}.{key}" if self._where else key

    def fail(self, key: str, expected: str, value: object) -> NoReturn:
        """Raise the error for a field that is not what was expected."""
        raise BundleError(f"manifest: '{self.at(key)}' must be {expected}, got {_shown(value)}.")

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        unknown = sorted(set(self._values) - self._asked)
        if unknown:
            raise BundleError(
                f"manifest: unknown field '{self.at(unknown[0])}'; known: {', '.join(sorted(self._asked))}."
            )

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        if key not in self._values:
            raise BundleError(f"manifest: the field '{self.at(key)}' is missing.")
        return self._values[key]

    def _list(self, key: str) -> list[object]:
        value = self._get(key)
        return value if isinstance(value, list) else self.fail(key, "a list", value)

    def _object(self, key: str) -> Mapping[str, object]:
        value = self._get(key)
        return value if isinstance(value, dict) else self.fail(key, "an object", value)


def _shown(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
