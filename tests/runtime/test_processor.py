from __future__ import annotations

import subprocess
import sys

import pytest

from edgecnn.runtime.processor import Processor, read

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f {}\n"


@pytest.mark.parametrize(
    ("text", "machine", "saturates"),
    [
        (X86.format("avx512_vnni"), "x86_64", False),
        (X86.format("avx_vnni"), "AMD64", False),
        (X86.format(""), "x86_64", True),
        ("", "x86_64", True),
        ("Features\t: fp asimd\n", "aarch64", False),
    ],
)
def test_what_saturates(text: str, machine: str, saturates: bool) -> None:
    assert read(text, machine).saturates is saturates


def test_it_imports_without_numpy() -> None:
    code = "import sys; sys.modules['numpy'] = None; import edgecnn.runtime.processor as p; print(p.here().machine)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("machine", "flags", "shown"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, "x86_64, avx512_vnni"),
        ("x86_64", {"avx2"}, "x86_64, no VNNI"),
        ("x86_64", set(), "x86_64"),
        ("aarch64", {"asimddp"}, "aarch64"),
    ],
)
def test_a_proof_names_the_processor(machine: str, flags: set[str], shown: str) -> None:
    assert str(Processor(machine, frozenset(flags))) == shown
