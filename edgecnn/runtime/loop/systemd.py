"""What systemd wants to hear from a service of ``Type=notify``. Source: sd_notify(3)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*states: str) -> None:
    """Send states to systemd, e.g. ``"READY=1"``, ``"WATCHDOG=1"``, ``"STOPPING=1"``; nothing where it did not ask.

    A service manager that does not listen must not stop an inspection: errors are dropped.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1.0)
        # A leading @ stands for the zero byte of Linux' abstract name space.
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.sendall("\n".join(states).encode())
