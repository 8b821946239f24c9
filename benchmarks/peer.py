"""Other quantisers: what ``peers/<name>.toml`` says of them, and the virtual environment that each one lives in."""

from __future__ import annotations

import hashlib
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes

FOLDER = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Setting:
    """One way to run a peer: its name, what it means, and the options its script gets."""

    name: str
    says: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """Another quantiser.

    Attributes:
        name: Of the files ``peers/<name>.toml`` and ``peers/<name>.py``, and of its virtual environment.
        title: What the table calls it.
        packages: Every package of its environment with its version; nothing else is installed.
        settings: In the order of the table.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    settings: tuple[Setting, ...]

    @property
    def script(self) -> Path:
        """Return what runs it, in its own environment."""
        return FOLDER / f"{self.name}.py"


def read_peer(path: Path) -> Peer:
    """Read ``peers/<name>.toml``."""
    table = tomllib.loads(path.read_text())
    settings = (Setting(name, item.pop("says"), item) for name, item in table["settings"].items())
    return Peer(path.stem, table["title"], tuple(table["packages"]), tuple(settings))


def peers() -> list[Peer]:
    """Return all peers, by the order in their files."""
    order = {path: tomllib.loads(path.read_text())["order"] for path in FOLDER.glob("*.toml")}
    return [read_peer(path) for path in sorted(order, key=lambda path: order[path])]


def fingerprint(peer: Peer, setting: Setting) -> str:
    """Return a digest of all that decides a peer's result but the model and the pictures."""
    parts = (*peer.packages, setting.name, repr(sorted(setting.options.items())), peer.script.read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def interpreter(peer: Peer, home: Path) -> Path:
    """Return the Python of a peer's environment; set it up if it is not there or was made for other packages.

    Raises:
        RuntimeError: If the packages cannot be installed; the message is pip's last line.
    """
    folder, wanted = home / peer.name, "\n".join(peer.packages)
    python, stamp = folder / "bin" / "python", folder / "packages.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"{peer.name}: setting up {folder}", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    # Without dependencies: the list is complete, and leaves out what the quantiser itself does not need.
    pip: list[str | Path] = [python, "-m", "pip", "install", "-q", "--progress-bar", "off", "--no-deps", *peer.packages]
    cost = processes.run(pip, folder / "pip.log")
    if cost.failure:
        raise RuntimeError(f"does not install: {cost.failure}")
    stamp.write_text(wanted)
    return python
