from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edgecnn.runtime.loop.systemd import notify


def test_states_reach_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=watching 0")
        assert manager.recv(1000) == b"READY=1\nSTATUS=watching 0"


def test_abstract_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0edgecnn-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@edgecnn-test-notify")
        notify("WATCHDOG=1")
        assert manager.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "tcp:1.2.3.4"])
def test_nobody_listening_harms_nobody(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert notify("READY=1") is None
