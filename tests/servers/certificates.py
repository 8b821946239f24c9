"""Certificates for servers on loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def self_signed(folder: Path, name: str = "IP:127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """Return the file of a certificate that a camera made for itself, and what its server needs."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    certificate, key = folder / "camera.pem", folder / "camera.key"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"]
    naming = ["-subj", "/CN=camera", "-addext", f"subjectAltName={name}"]
    command = ["openssl", "req", "-x509", *kind, *naming, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
