"""Who may see the page: anybody on this machine, and from elsewhere whoever knows the token.

On a loopback address the name in the ``Host`` header must be one of this machine's own, or a page of somebody else
could have its own name point here and read everything through a visitor's browser (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from edgecnn.errors import OptionError

VARIABLE = "EDGECNN_TOKEN"
"""The environment variable that holds the token."""
SHORTEST = 16
"""Characters that a token must have: nobody guesses that many over a network."""
COOKIE_SECONDS = 30 * 24 * 3600
"""How long a browser stays let in."""


@dataclass(frozen=True)
class Access:
    """The rules for one page.

    Attributes:
        host: The address that the page listens on.
        token: What a visitor must know; empty where anybody may look, on loopback only.

    Raises:
        OptionError: If ``host`` is not loopback and there is no token, or the token is too short.
    """

    host: str
    token: str = ""

    def __post_init__(self) -> None:
        how = f'export {VARIABLE}="$(python3 -c "import secrets; print(secrets.token_urlsafe(24))")"'
        if not self.token and not is_loopback(self.host):
            raise OptionError(
                f"a page on {self.host} can be seen by others in the network and needs a token. Set one with {how}, "
                "or serve on 127.0.0.1."
            )
        if self.token and len(self.token) < SHORTEST:
            raise OptionError(f"the token must have at least {SHORTEST} characters. Set another with {how}.")

    @classmethod
    def of(cls, host: str, token: str | None) -> Access:
        """Make the rules; a token that is None is taken from the environment, brackets around an address are dropped.

        Raises:
            OptionError: As the class does.
        """
        return cls(host.strip("[]"), os.environ.get(VARIABLE, "") if token is None else token)

    def knows(self, name: str) -> bool:
        """Whether the ``Host`` header may name this machine so."""
        return not is_loopback(self.host) or is_loopback(_without_port(name))

    def is_token(self, text: str) -> bool:
        """Whether ``text`` is the token; takes the same time for every wrong one."""
        return bool(self.token) and hmac.compare_digest(text.encode(), self.token.encode())

    def admits(self, headers: Mapping[str, str], port: int) -> bool:
        """Whether a request with these headers, names in lower case, shows the token or the cookie made of it."""
        if not self.token:
            return True
        kind, _, text = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(text.strip()):
            return True
        given = _cookies(headers.get("cookie", "")).get(cookie_name(port), "")
        return hmac.compare_digest(given.encode(), self.cookie.encode())

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token; it stays the same over restarts, and does not tell the token."""
        return hmac.new(self.token.encode(), b"edgecnn page", hashlib.sha256).hexdigest()


def cookie_name(port: int) -> str:
    """Return the cookie's name: browsers keep cookies by host alone, so that each port needs its own."""
    return f"edgecnn_{port}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or number is that of this machine to itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(name: str) -> str:
    """Return the host of ``host``, ``host:port``, ``[address]`` or ``[address]:port``."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}
