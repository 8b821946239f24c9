"""How a camera that speaks HTTP is told who asks: Digest (RFC 7616) where it offers that, Basic (RFC 7617) otherwise.

The first request says nothing; the camera's refusal says what it takes. So a password never goes over the wire as it
is, unless the camera knows nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.runtime.address import Address

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}
_VALUE = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """What a camera wants to know, as ``WWW-Authenticate: Digest`` says it.

    Attributes:
        realm: Whose passwords are meant.
        nonce: The camera's own random text.
        algorithm: ``"MD5"`` or ``"SHA-256"``.
        is_session: Whether the algorithm is that with ``-sess``.
        has_qop: Whether it takes the quality of protection ``auth``; without, it is an old one (RFC 2069).
        opaque: Is sent back as it is; None where there is none.
    """

    realm: str
    nonce: str
    algorithm: str
    is_session: bool
    has_qop: bool
    opaque: str | None

    @classmethod
    def parse(cls, text: str) -> Challenge | None:
        """Read a challenge; None if it is none, or one that nobody here can answer."""
        kind, _, rest = text.strip().partition(" ")
        found = {name.lower(): quoted or plain for name, quoted, plain in _VALUE.findall(rest)}
        algorithm = found.get("algorithm", "MD5").upper()
        qop = [word.strip() for word in found.get("qop", "auth").lower().split(",")]
        if kind.lower() != "digest" or not {"realm", "nonce"} <= found.keys() or "auth" not in qop:
            return None
        plain = algorithm.removesuffix("-SESS")
        if plain not in _HASHES:
            return None
        is_session = plain != algorithm
        return cls(found["realm"], found["nonce"], plain, is_session, "qop" in found, found.get("opaque"))


class Login:
    """The answers to one camera's challenges.

    Args:
        address: Of the camera; user name and password are sent, and shown nowhere.

    Attributes:
        is_known: Whether there is a user name or a password at all.
    """

    def __init__(self, address: Address) -> None:
        self._name, self._password = address.username or "", address.password or ""
        self.is_known = address.username is not None or address.password is not None
        self._challenge: Challenge | None = None
        self._count = 0
        self._is_basic = False

    def learn(self, challenges: Sequence[str]) -> bool:
        """Take the values of ``WWW-Authenticate``; tell whether one can be answered."""
        if not self.is_known:
            return False
        kinds = {text.strip().partition(" ")[0].lower() for text in challenges}
        self._challenge, self._count = next(filter(None, map(Challenge.parse, challenges)), None), 0
        # Some cameras refuse without saying what they take.
        self._is_basic = self._challenge is None and (not kinds or "basic" in kinds)
        return self._is_basic or self._challenge is not None

    def headers(self, target: str) -> dict[str, str]:
        """Return what to send with a GET of a target (path and query); nothing before there was a challenge."""
        if self._is_basic:
            pair = base64.b64encode(f"{self._name}:{self._password}".encode()).decode("ascii")
            return {"Authorization": f"Basic {pair}"}
        if self._challenge is None:
            return {}
        self._count += 1
        answer = self._answer(self._challenge, target, secrets.token_hex(8))
        # Header fields go over the wire as Latin-1; names are UTF-8 to the hash, so they are on the wire.
        return {"Authorization": answer.encode().decode("latin-1")}

    def _answer(self, challenge: Challenge, target: str, client_nonce: str) -> str:
        """Return the answer to a challenge: RFC 7616, section 3.4."""

        def hashed(*parts: str) -> str:
            return hashlib.new(
                _HASHES[challenge.algorithm], ":".join(parts).encode(), usedforsecurity=False
            ).hexdigest()

        secret = hashed(self._name, challenge.realm, self._password)
        if challenge.is_session:
            secret = hashed(secret, challenge.nonce, client_nonce)
        count, asked = f"{self._count:08x}", hashed("GET", target)
        quality = [count, client_nonce, "auth"] if challenge.has_qop else []
        name = re.sub(r'(["\\])', r"\\\1", self._name)
        fields = {"username": name, "realm": challenge.realm, "nonce": challenge.nonce, "uri": target}
        fields["response"] = hashed(secret, challenge.nonce, *quality, asked)
        if challenge.opaque is not None:
            fields["opaque"] = challenge.opaque
        texts = [f'{key}="{value}"' for key, value in fields.items()]
        texts.append(f"algorithm={challenge.algorithm}{'-sess' if challenge.is_session else ''}")
        if quality or challenge.is_session:
            texts += [f"qop=auth, nc={count}"] if quality else []
            texts.append(f'cnonce="{client_nonce}"')
        return f"Digest {', '.join(texts)}"
