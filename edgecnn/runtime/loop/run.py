"""What tells the records of one run from those of all others: station, bundle, and an identity."""

from __future__ import annotations

import hashlib
import secrets
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from edgecnn.manifest import Manifest


@dataclass(frozen=True)
class Run:
    """One run of one bundle at one station.

    Attributes:
        manifest: The contract of the bundle.
        station: Name of the place that is inspected.
        id: When the run began (UTC) and a random number: unique, and in their order runs are in their order.
    """

    manifest: Manifest
    station: str
    id: str

    @classmethod
    def begin(cls, manifest: Manifest, station: str = "") -> Run:
        """Return a new run, at the station of this name or else of the host's name."""
        now = datetime.fromtimestamp(time.time(), UTC)
        began = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z"
        return cls(manifest, station or socket.gethostname(), f"{began}-{secrets.token_hex(4)}")

    @cached_property
    def bundle_sha256(self) -> str:
        """SHA-256 of ``manifest.json``, hexadecimal: the manifest holds the digest of every other file."""
        return hashlib.sha256(self.manifest.dumps().encode()).hexdigest()

    def event_id(self, number: int) -> str:
        """Return the identity of the turn with this number: no other turn of any run has it, and later ones follow."""
        return f"{self.id}-{number:010d}"
