"""Debian's mosquitto on a free port of this machine, to be stopped, frozen and killed, and a client that listens."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.waiting import until


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Broker:
    """A mosquitto that may be started again on the same port. It keeps nothing on disk."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        # Debian puts daemons where users have no path to.
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            pytest.skip("needs mosquitto: apt install mosquitto")
        self.port = free_port()
        self._program, self._config = program, folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\npersistence false\n{settings}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        log = subprocess.DEVNULL
        self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        until(self._listens, "mosquitto")

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def end(self) -> None:
        """Kill it if it runs, frozen or not."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def freeze(self) -> None:
        """Stop it from doing anything; its connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _reading(process: subprocess.Popen[str], lines: list[str]) -> threading.Thread:
    """Collect a program's lines in a thread."""
    output = process.stdout
    assert output is not None

    def collect() -> None:
        for line in output:
            lines.append(line.rstrip("\n"))

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    return thread


class Listener:
    """What mosquitto_sub receives on all topics: a program of its own, that knows nothing of paho."""

    def __init__(self, port: int, *options: str) -> None:
        program = shutil.which("mosquitto_sub")
        if program is None:
            pytest.skip("needs mosquitto_sub: apt install mosquitto-clients")
        # Its lines shall come one by one, and not when a block is full.
        command = [
            "stdbuf",
            "-oL",
            program,
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-t",
            "#",
            "-q",
            "1",
            "-F",
            "%r %t %p",
            *options,
        ]
        self._process = subprocess.Popen([*command, "-d"], stdout=subprocess.PIPE, text=True, bufsize=1)
        self._lines: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "SUBACK" in line:
                break
        self._thread = _reading(self._process, self._lines)

    def payloads(self, topic: str) -> list[str]:
        """Return what came on a topic, in order."""
        words = [line.split(" ", 2) for line in list(self._lines)]
        return [payload for kept, name, payload in (word for word in words if len(word) == 3) if name == topic]

    def numbers(self, topic: str) -> list[int]:
        """Return the numbers of the observations that came on a topic."""
        return [json.loads(text)["number"] for text in self.payloads(topic)]

    def close(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
