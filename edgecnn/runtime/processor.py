"""What this machine's processor does to 8-bit products.

Imports without numpy: ``edgecnn doctor`` runs where that is missing.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecnn.integer_graph import IntegerGraph

CPU_INFO = Path("/proc/cpuinfo")
VNNI = ("avx512_vnni", "avx_vnni")
SATURATING = {"onnxruntime": "x86", "openvino": "intel-avx2"}
"""Engines whose kernels add two 8-bit products in 16 bits where there is no VNNI, and the target that is safe there.

LiteRT's widen to 16 bits first.
"""
SAFE_WEIGHT = 64
"""Two weights up to this cannot saturate: 255 * (64 + 64) is less than 2**15."""


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
        """Whether it is an x86 processor that is known to lack them."""
        return self.is_x86 and bool(self.flags) and not self.vnni


def read(cpu_info: str, machine: str) -> Processor:
    """Read what Linux says in ``/proc/cpuinfo``, given as text."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpu_info, re.MULTILINE)
    return Processor(machine, frozenset(found[1].split() if found else ()))


def here() -> Processor:
    """Return the processor of this machine."""
    text = CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.exists() else ""
    return read(text, platform.machine())


def suspicion(engine: str, graph: IntegerGraph) -> str:
    """Say why ``engine`` may differ from the reference on this processor, empty if nothing is known.

    Args:
        engine: The engine's name.
        graph: The bundle's integer graph.
    """
    if engine not in SATURATING or not here().saturates or _largest_weight(graph) <= SAFE_WEIGHT:
        return ""
    return (
        "this processor has no VNNI, so sums of 8-bit products saturate in this engine. Export the model for the "
        f"target '{SATURATING[engine]}', whose 7-bit weights do not, or for 'coral': LiteRT is exact on every CPU"
    )


def _largest_weight(graph: IntegerGraph) -> int:
    weights = [array for array in graph.constants.values() if array.dtype == "int8"]
    return max((int(abs(array.astype("int16")).max()) for array in weights), default=0)
