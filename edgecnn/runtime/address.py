"""Where frames come from and verdicts go to, in one text: ``rtsp://cam/1``, ``mqtt://broker/line``, ``jsonl:log``.

Secrets come from the environment: ``${NAME}`` in an address stands for that variable, and is replaced after the text
was taken apart, so that a password may hold any character. What is written out in a user name or password is
percent-encoded, as in every URL, and decoded here. ``@`` stands between those and the host, and nowhere else.

What may be shown is decided here too: ``str(address)`` and `redacted` leave out user names, passwords, values of
options unless these are known to be harmless, and parts of a path that look like a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from edgecnn.errors import EdgecnnError, OptionError, unknown_name

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
# Behind 'webhook:' there is a URL with a scheme of its own.
_LOCATED = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]+:){0,2}//)(.*)", re.DOTALL)
_PLACE = re.compile(r"(\[[^\]]*\]|[^:/?]*)(?::([^/?]*))?([^?]*)\??(.*)", re.DOTALL)
_AS_IT_IS = "/%?=&:;,+~!$'()*@[]|"
"""What stays in a request's target; all else, spaces and umlauts, is percent-encoded."""

_HARMLESS = re.compile(
    r"active|ca|every|fps|heartbeat|invalid|invalid_active|late_ms|pulse_ms|qos|register|size|stall|unit"  # ours
    r"|camera|ch|channel|chn|codec|compression|format|framerate|height|profile|quality|rate|resolution|stream|streamtype"
    r"|subtype|transport|videocodec|width",
    re.IGNORECASE,
)
"""Options whose values are shown; what cameras and servers call a password is anybody's guess."""
_URL = re.compile(r"(?<=//)\S+")
_SINGLE_SLASH = re.compile(r"(?<=\w:)/?[^\s/@:]+:\S*@")
_PUNCTUATION = re.compile(r"[:;.,'\")\]]*\Z")
_NO_PORT = re.compile(r":(?!\d{0,5}\Z|\$\{\w+\}\Z)[^:\]]*\Z")
_KEY = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).*(?:[A-Za-z0-9]{16}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-).*|.{32,}", re.DOTALL)


@dataclass(frozen=True, repr=False)
class Address:
    """An address, taken apart.

    Attributes:
        text: What was given, with ``${NAME}`` as it was: safe to show only through ``str(address)``.
        scheme: Lower case, e.g. ``"mqtt"``; empty where there is none (a path, a camera's number).
        host: Name or number of the host, empty without one.
        port: None where the default shall be taken.
        path: What follows the host, with its leading ``/``; for ``jsonl:logs/x`` that is ``logs/x``.
        query: Options behind ``?``, variables replaced.
        username: None without one; decoded, variables replaced.
        password: None without one; decoded, variables replaced.
    """

    text: str
    scheme: str
    host: str = ""
    port: int | None = None
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take an address apart.

        Raises:
            OptionError: If it is empty, its port is no number, a variable is not set, or a user name or password holds
                what must be percent-encoded there.
        """
        if not text.strip():
            raise OptionError("an address must not be empty.")
        # A variable that holds all of an address holds what could have been typed.
        text = _expanded(text) if _VARIABLE.fullmatch(text) else text
        found = _SCHEME.fullmatch(text)
        if not found:
            return cls(text, "", path=_expanded(text))
        scheme, rest = found[1].lower(), found[2]
        located = _LOCATED.fullmatch(rest)
        if not located:
            path, _, query = rest.partition("?")
            return cls(text, scheme, path=_expanded(path), query=_options(query))
        username, password, location = _user_and_place(text, located[2])
        place = _PLACE.fullmatch(location)
        assert place is not None, "every text is a place"
        host, port, path, query = place.groups()
        return cls(
            text,
            scheme,
            _expanded(host.strip("[]")),
            _port(text, port),
            _expanded(path),
            _options(query),
            username,
            password,
        )

    @property
    def url(self) -> str:
        """The whole address with its secrets in place, for whoever connects. Never print it."""
        located = _LOCATED.fullmatch(self.text)
        if not located:
            return _expanded(self.text, quoted=True)
        names = [quote(part, safe="") for part in (self.username, self.password) if part is not None]
        user = f"{':'.join(names)}@" if names else ""
        return located[1] + user + _expanded(located[2].rpartition("@")[2], quoted=True)

    def target(self, ours: Collection[str] = ()) -> str:
        """Return what an HTTP request asks the host for: path and query, percent-encoded. Never print it.

        Args:
            ours: Names of options that are not the host's, and left out.
        """
        path, mark, query = self.text.partition("//")[2].rpartition("@")[2].partition("?")
        theirs = "&".join(option for option in query.split("&") if option.partition("=")[0] not in ours)
        target = f"/{path.partition('/')[2]}{mark if theirs else ''}{theirs}"
        return quote(_expanded(target, quoted=True), safe=_AS_IT_IS)

    def options(self) -> Options:
        """Return the query as options that are checked; see `Options`."""
        return Options(self)

    def __str__(self) -> str:
        return _shown(self.text)

    def __repr__(self) -> str:
        return f"Address('{self}')"


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
    """Return a message without the user names, passwords and keys of addresses in it.

    A message that was redacted stays as it is. What only looks like an address, ``http://user:${PASSWORD}@...`` in a
    piece of advice, is redacted alike: say ``USER:${PASSWORD}@`` there.
    """
    return _SINGLE_SLASH.sub("***@", _URL.sub(_redacted_url, text))


def safe_text(error: Exception) -> str:
    """Return what went wrong, without secrets; exceptions of other people's code with their type."""
    return redacted(str(error) if isinstance(error, EdgecnnError) else f"{type(error).__name__}: {error}")


def _redacted_url(found: re.Match[str]) -> str:
    """Return what stands behind ``//`` in a message, and leave the sentence's own punctuation alone."""
    ending = _PUNCTUATION.search(found[0])
    length = ending.start() if ending else len(found[0])
    return _shown_location(found[0][:length]) + found[0][length:]


def _shown(text: str) -> str:
    """Return a whole address without its secrets; spaces do not end it, as they do in a message."""
    located = _LOCATED.fullmatch(text)
    return located[1] + _shown_location(located[2]) if located else redacted(text)


def _shown_location(location: str) -> str:
    """Return what stands behind ``//`` without user name, password and keys."""
    _, at, place = location.rpartition("@")
    path, mark, query = place.partition("?")
    host, *segments = path.split("/")
    names = [_NO_PORT.sub(":***", host), *map(_shown_segment, segments)]
    options = re.sub(r"[^&;]+", lambda found: _shown_option(found[0]), query)
    return f"{'***@' if at else ''}{'/'.join(names)}{mark}{options}"


def _shown_segment(segment: str) -> str:
    """Return a part of a path; cameras take options there too, and servers keys."""
    if "=" in segment:
        return _shown_option(segment)
    return "***" if _KEY.fullmatch(segment) else segment


def _shown_option(option: str) -> str:
    """Return ``name=value``, the value only if it is known to be harmless."""
    name, sign, value = option.partition("=")
    if not sign:
        return "***"
    return option if _HARMLESS.fullmatch(name) and "=" not in value else f"{name}=***"


def _user_and_place(text: str, location: str) -> tuple[str | None, str | None, str]:
    """Return user name and password, decoded, and the rest of what stands behind ``//``.

    Raises:
        OptionError: If they hold what ends the host in a URL, or there is an ``@`` behind the host.
    """
    user, at, place = location.rpartition("@")
    if any(character in user for character in "/?#"):
        raise OptionError(
            f"{_shown(text)}: '/', '?', '#' and '%' in a user name or password are written %2F, %3F, %23 and %25, or "
            "come from the environment, as ${PASSWORD}; an '@' behind the host is written %40."
        )
    name, colon, password = user.partition(":")
    return _decoded(name) if at else None, _decoded(password) if colon else None, place


def _port(text: str, port: str | None) -> int | None:
    """Return a port's number, None without one."""
    number = _expanded(port or "")
    if not number:
        return None
    # Not 'isdecimal' alone: other scripts have digits too.
    if not re.fullmatch(r"[0-9]{1,5}", number) or int(number) > 0xFFFF:
        raise OptionError(f"{_shown(text)}: a port is a number in 0 .. 65535.")
    return int(number)


def _options(query: str) -> dict[str, str]:
    return {key: _expanded(value) for key, value in parse_qsl(query, keep_blank_values=True)}


def _decoded(text: str) -> str:
    """Percent-decode what is written out; what comes from a variable is taken as it is."""
    pieces = re.split(r"(\$\{[A-Za-z_][A-Za-z0-9_]*\})", text)
    return "".join(_expanded(piece) if index % 2 else unquote(piece) for index, piece in enumerate(pieces))


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
