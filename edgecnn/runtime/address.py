"""Where frames come from and verdicts go to, in one text: ``rtsp://cam/1``, ``mqtt://broker/line``, ``jsonl:log``.

Secrets come from the environment: ``${NAME}`` in an address stands for that variable, and is replaced after the text
was taken apart, so that a password may hold any character. ``str(address)`` never shows a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit

from edgecnn.errors import EdgecnnError, OptionError, unknown_name

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_USER = re.compile(r"(?<=://)[^/?\s@]*@")
_SECRET = re.compile(r"(?i)(?<![^/?&;])((?:pass(?:word|wd)?|pwd|token|secret|key|auth)[^=/?&;]*=)[^&;]*")


@dataclass(frozen=True)
class Address:
    """An address, taken apart.

    Attributes:
        text: What was given, with ``${NAME}`` as it was: safe to show only through ``str(address)``.
        scheme: Lower case, e.g. ``"mqtt"``; empty where there is none (a path, a camera's number).
        host: Name or number of the host, empty without one.
        port: None where the default shall be taken.
        path: What follows the host, with its leading ``/``; for ``jsonl:logs/x`` that is ``logs/x``.
        query: Options behind ``?``, variables replaced.
        username: None without one; variables replaced.
        password: None without one; variables replaced.
    """

    text: str
    scheme: str
    host: str = ""
    port: int | None = None
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take an address apart.

        Raises:
            OptionError: If it is empty, its port is no number, or a variable is not set.
        """
        if not text.strip():
            raise OptionError("an address must not be empty.")
        found = _SCHEME.fullmatch(text)
        if not found:
            return cls(text, "", path=_expanded(text))
        scheme, rest = found[1].lower(), found[2]
        try:
            parts = urlsplit(rest, allow_fragments=False)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise OptionError(f"{redacted(text)}: no address: {error}.") from error
        query = {key: _expanded(value) for key, value in parse_qsl(parts.query, keep_blank_values=True)}
        names = [None if part is None else _expanded(part) for part in (parts.username, parts.password)]
        return cls(text, scheme, _expanded(host), port, _expanded(parts.path), query, *names)

    @property
    def url(self) -> str:
        """The whole address with its secrets in place, for whoever connects. Never print it."""
        names = [quote(part, safe="") for part in (self.username, self.password) if part is not None]
        user = f"{':'.join(names)}@" if names else ""
        return _expanded(_USER.sub(lambda found: user, self.text, count=1), quoted=True)

    def options(self) -> Options:
        """Return the query as options that are checked; see `Options`."""
        return Options(self)

    def __str__(self) -> str:
        return redacted(self.text)


class Options:
    """The options behind ``?`` of an address. What nobody asked for is refused by `done`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._asked: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """Return an option as it is."""
        self._asked.append(name)
        return self._address.query.get(name, default)

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return an option that is one of a few words.

        Raises:
            OptionError: If it is another.
        """
        value = self.text(name, default)
        if value not in allowed:
            raise OptionError(f"{self._address}: {name} must be one of {', '.join(allowed)}, got '{value}'.")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return an option as a number.

        Raises:
            OptionError: If it is none, or not in ``low .. high``.
        """
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise OptionError(f"{self._address}: {name} must be a number in {low:g} .. {high:g}, got '{value}'.")
        return number

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return an option as a whole number.

        Raises:
            OptionError: If it is none, or not in ``low .. high``.
        """
        number = self.number(name, default, low, high)
        if number != int(number):
            raise OptionError(f"{self._address}: {name} must be a whole number, got '{self._address.query[name]}'.")
        return int(number)

    def done(self) -> None:
        """Refuse options that were not asked for.

        Raises:
            OptionError: On the first one; near names are suggested.
        """
        for name in self._address.query:
            if name not in self._asked:
                raise unknown_name(f"option of {self._address.scheme}", name, self._asked)


def redacted(text: str) -> str:
    """Return an address, or a message with addresses in it, without user names, passwords and tokens."""
    return _SECRET.sub(r"\1***", _USER.sub("***@", text))


def safe_text(error: Exception) -> str:
    """Return what went wrong, without secrets; exceptions of other people's code with their type."""
    return redacted(str(error) if isinstance(error, EdgecnnError) else f"{type(error).__name__}: {error}")


def _expanded(text: str, quoted: bool = False) -> str:
    """Replace ``${NAME}`` by that environment variable, percent-encoded where it becomes part of a URL.

    Raises:
        OptionError: If it is not set.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise OptionError(f"the environment variable {found[1]} is not set: export {found[1]}=...")
        return quote(os.environ[found[1]], safe="") if quoted else os.environ[found[1]]

    return _VARIABLE.sub(value, text)
