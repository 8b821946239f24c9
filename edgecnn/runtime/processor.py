"""What this machine's processor does to 8-bit products.

Imports without numpy: ``edgecnn doctor`` runs where that is missing.
"""

from __future__ import annotations

import functools
import platform
import re
from dataclasses import dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
VNNI = ("avx512_vnni", "avx_vnni")


@dataclass(frozen=True)
class Processor:
    """A processor, as the operating system describes it.

    Attributes:
        machine: `platform.machine`, e.g. ``"x86_64"`` or ``"aarch64"``.
        flags: Names of its instruction sets; empty where the system does not say.
    """

    machine: str
    flags: frozenset[str]

    @property
    def vnni(self) -> list[str]:
        """The instruction sets with which x86 adds 8-bit products in 32 bits."""
        return [name for name in VNNI if name in self.flags]

    @property
    def is_x86(self) -> bool:
        """Whether it is a 64-bit x86 processor."""
        return self.machine in ("x86_64", "AMD64")

    @property
    def saturates(self) -> bool:
        """Whether it is an x86 processor that lacks them, or may lack them: products of wide pairs then saturate."""
        return self.is_x86 and not self.vnni

    def __str__(self) -> str:
        if not self.is_x86 or not self.flags:
            return self.machine
        return f"{self.machine}, {', '.join(self.vnni) or 'no VNNI'}"


def read(cpu_info: str, machine: str) -> Processor:
    """Read what Linux says in ``/proc/cpuinfo``, given as text."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpu_info, re.MULTILINE)
    return Processor(machine, frozenset(found[1].split() if found else ()))


def here() -> Processor:
    """Return the processor of this machine."""
    return _described(CPU_INFO)


@functools.cache
def _described(cpu_info: Path) -> Processor:
    text = cpu_info.read_text(encoding="utf-8", errors="replace") if cpu_info.exists() else ""
    return read(text, platform.machine())
